"""Coverage-guided fuzzing, by atheris: `python -m tests.fuzz.guided images -max_total_time=60`.
The targets `gif`, `tiff`, `avif` and `heic` start with files of these formats.

It looks for inputs that reach code which no other one reached, starting with the corpus; what it
finds on its way goes to `build/fuzz/`, and the next run starts with that, too. What ends a target
by another error than a refusal, or takes too long, is written there as well, and the exit code is
not 0. Further arguments are libFuzzer's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["PIL", "convoy.artifact", "convoy.service.http", "convoy.service.protocol"],
    enable_loader_override=False,
):
    from PIL import (
        AvifImagePlugin,
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    from convoy.artifact.errors import ImageError
    from convoy.artifact.preprocess import ImageLimits, image_to_input
    from convoy.pb.inference import grpc_service_pb2 as pb
    from convoy.service.errors import ServiceError
    from convoy.service.http.infer_body import read_infer, to_request
    from convoy.service.protocol.templates import _split
    from convoy.service.protocol.tensors import read_input

from google.protobuf.message import DecodeError

from convoy.artifact.files import read_artifact
from tests.fuzz.seeds import CORPUS, IMAGE_KINDS
from tests.harness.lenet import LENET

PLUGINS = (
    *(AvifImagePlugin, BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin),
    *(TiffImagePlugin, WebPImagePlugin),
)
"""Named, so that they are imported here, and watched."""

MANIFEST = read_artifact(LENET).manifest

LIMITS = ImageLimits(max_pixels=1_000_000)
"""Less than the server's, so that no time is spent on mere size."""

MOST = 32
"""Images in one request."""

FOUND = Path("build/fuzz")


def images(data: bytes) -> None:
    """Decode an image."""
    try:
        image_to_input(data, MANIFEST, LIMITS)
    except ImageError:
        return


def requests(data: bytes) -> None:
    """Read a `ModelInferRequest`: without a parser, and with one."""
    _split(data)
    try:
        read_input(pb.ModelInferRequest.FromString(data), MANIFEST, MOST)
    except (DecodeError, ServiceError):
        return


def bodies(data: bytes) -> None:
    """Read the body of a request over HTTP; its first line is the length of its JSON."""
    length, _, body = data.partition(b"\n")
    try:
        header = length.decode("latin-1") if length else None
        request = to_request(*read_infer(body, header, 1 << 20), MANIFEST.name, "")
        read_input(request, MANIFEST, MOST)
    except ServiceError:
        return


TARGETS: dict[str, Callable[[bytes], None]] = {
    **dict.fromkeys(IMAGE_KINDS, images),  # a target for each format, with files of its own
    "requests": requests,
    "bodies": bodies,
}


def main() -> None:
    """Fuzz the target that is named, until the time is over or something is found."""
    target, *options = sys.argv[1:]
    found = FOUND / target
    found.mkdir(parents=True, exist_ok=True)
    atheris.Setup(
        [sys.argv[0], *options, f"-artifact_prefix={FOUND}/", str(found), str(CORPUS / target)],
        TARGETS[target],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
