"""Decoding in processes: what a decoder does to itself it does to one image only."""

import os
import signal
import time
from typing import Any

import psutil
import pytest

from convoy.artifact.manifest import Manifest
from convoy.client import AsyncClient
from convoy.results import ConvoyError
from convoy.service.decoding import decoder
from tests.harness.http import ask
from tests.harness.images import png
from tests.harness.server import Running, Serve

CRASH = b"crash the decoder"
HANG = b"hang the decoder"


def decode(data: bytes, manifest: Manifest, limits: Any) -> Any:
    """Decode, but for two files that stand for a hole in a decoder."""
    from convoy.artifact.preprocess import image_to_input

    if data == CRASH:
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == HANG:
        time.sleep(600)
    return image_to_input(data, manifest, limits)


async def failure(running: Running, image: bytes) -> str:
    """Return the error of a request with this image."""
    async with AsyncClient(running.address) as client:
        with pytest.raises(ConvoyError) as failed:
            await client.classify(image, model="tiny")
    assert failed.value.code == "INVALID_ARGUMENT"
    assert failed.value.reason == "INVALID_IMAGE"
    return str(failed.value)


async def classify(running: Running) -> int:
    """Class of a good image."""
    async with AsyncClient(running.address) as client:
        return (await client.classify(png(3), model="tiny")).predictions[0].class_index


async def test_good_and_bad_images(serve: Serve) -> None:
    """
    Answers and errors are those of threads.
    """
    async with serve(decode_processes=1) as running:
        assert await classify(running) == 3
        assert "this is text; convoy reads JPEG" in await failure(running, b"rubbish")
        seen = await ask("POST", f"{running.url}/page/answers?model=tiny/1", png(3))
        assert seen.json()["answers"][0]["preview"]


async def test_crash_and_hang(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A decoder that crashes or hangs fails its image; the server and the next image are well.
    """
    monkeypatch.setattr(decoder, "image_to_input", decode)
    async with serve(decode_processes=1, decode_timeout_s=2) as running:
        assert "crashed its decoder" in await failure(running, CRASH)
        assert await classify(running) == 3
        assert "not decoded within 2 s" in await failure(running, HANG)
        assert await classify(running) == 3


async def test_processes_end_with_the_server(serve: Serve) -> None:
    """
    None is left behind.
    """
    async with serve(decode_processes=2) as running:
        assert await classify(running) == 3
        children = psutil.Process().children(recursive=True)
        # Not the tracker of shared resources: it ends with the process that it watches.
        decoders = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(decoders) == 2
    assert psutil.wait_procs(decoders, timeout=20)[1] == []
