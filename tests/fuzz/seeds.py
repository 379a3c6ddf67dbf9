"""The corpus: one small file for each way to write an image or a request.

`python -m tests.fuzz.seeds` writes it. It is kept in the repository, so that a mutation of it
is the same whichever library encodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from convoy.artifact import image_formats  # noqa: F401 - teaches Pillow to write HEIC
from convoy.pb.convoy.v1 import classifier_pb2
from convoy.pb.inference import grpc_service_pb2 as pb
from tests.harness.images import encode, gradient

CORPUS = Path(__file__).parent / "corpus"

MODEL = "lenet5"
SIDE = 32

SIZE = (12, 10)
"""Width and height of most images, in pixels."""


def corpus(kind: str) -> dict[str, bytes]:
    """The files of one kind, a folder of `CORPUS`, by their names."""
    files = sorted((CORPUS / kind).iterdir())
    return {path.name: path.read_bytes() for path in files}


def images() -> Iterator[tuple[str, bytes]]:
    """Each listed format in its variants, and formats that are never opened."""
    grey, colours = gradient("L", SIZE), gradient("RGB", SIZE)
    alpha = colours.copy()
    alpha.putalpha(grey)
    palette = colours.quantize(8)
    yield "grey.png", encode(grey)
    yield "rgb.png", encode(colours)
    yield "rgba.png", encode(alpha)
    yield "grey-alpha.png", encode(alpha.convert("LA"))
    yield "palette.png", encode(palette)
    yield "transparent-palette.png", encode(palette, transparency=0)
    yield "bilevel.png", encode(colours.convert("1"))
    yield "sixteen-bits.png", encode(grey.convert("I;16"))
    yield "text-and-profile.png", encode(colours, icc_profile=b"profile" * 9)
    yield "animated.png", encode(colours, save_all=True, append_images=[alpha.convert("RGB")])
    yield "baseline.jpg", encode(colours, "JPEG")
    yield "progressive.jpg", encode(colours, "JPEG", progressive=True)
    yield "grey.jpg", encode(grey, "JPEG")
    yield "cmyk.jpg", encode(colours.convert("CMYK"), "JPEG")
    yield "restarts.jpg", encode(colours, "JPEG", restart_marker_blocks=1)
    yield "rotated.jpg", encode(colours, "JPEG", exif=_exif())
    yield "two-images.mpo", encode(colours, "MPO", save_all=True, append_images=[colours])
    yield "lossy.webp", encode(colours, "WEBP")
    yield "lossless.webp", encode(colours, "WEBP", lossless=True)
    yield "alpha.webp", encode(alpha, "WEBP")
    yield "animated.webp", encode(colours, "WEBP", save_all=True, append_images=[alpha])
    yield "rgb.bmp", encode(colours, "BMP")
    yield "grey.bmp", encode(grey, "BMP")
    yield "bilevel.bmp", encode(colours.convert("1"), "BMP")
    for unlisted in ("PPM", "ICO", "TGA", "PCX", "DDS", "JPEG2000"):
        yield f"unlisted.{unlisted.lower()}", encode(colours.resize((16, 16)), unlisted)


def gifs() -> Iterator[tuple[str, bytes]]:
    """GIFs: palettes or greys, transparent, interlaced, animated, smaller than the screen."""
    grey, colours = gradient("L", SIZE), gradient("RGB", SIZE)
    yield "palette.gif", encode(colours.quantize(8), "GIF")
    yield "grey.gif", encode(grey, "GIF", transparency=3)
    yield "transparent.gif", encode(colours.quantize(8), "GIF", transparency=0, disposal=2)
    yield "interlaced.gif", encode(colours, "GIF", interlace=1, comment=b"a comment" * 40)
    more = [colours.rotate(90), colours.rotate(180)]
    yield "animated.gif", encode(colours, "GIF", save_all=True, append_images=more, loop=0)
    small = bytearray(encode(grey, "GIF"))
    small[6:10] = b"\x20\x00\x20\x00"
    yield "small-frame.gif", bytes(small)


def tiffs() -> Iterator[tuple[str, bytes]]:
    """TIFFs: each compression, depth, order of bytes; strips and tiles; rotated; several pages."""
    grey, colours = gradient("L", SIZE), gradient("RGB", SIZE)
    alpha = colours.copy()
    alpha.putalpha(grey)
    for method in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd"):
        yield f"{method}.tiff", encode(colours, "TIFF", compression=method)
    yield "group4.tiff", encode(colours.convert("1"), "TIFF", compression="group4")
    yield "sixteen-bits.tiff", encode(grey.convert("I;16"), "TIFF")
    yield "big-endian.tiff", encode(grey.convert("I;16B"), "TIFF")
    yield "float.tiff", encode(grey.convert("F"), "TIFF")
    yield "alpha.tiff", encode(alpha, "TIFF", compression="tiff_lzw")
    yield "cmyk.tiff", encode(colours.convert("CMYK"), "TIFF")
    yield "palette.tiff", encode(colours.quantize(8), "TIFF")
    yield "big.tiff", encode(colours, "TIFF", big_tiff=True)
    yield "strips.tiff", encode(colours, "TIFF", compression="tiff_lzw", strip_size=64)
    tiled = {322: 16, 323: 16}
    yield "tiles.tiff", encode(colours, "TIFF", compression="tiff_lzw", tiffinfo=tiled)
    yield "rotated.tiff", encode(colours, "TIFF", tiffinfo={0x0112: 6})
    yield "pages.tiff", encode(colours, "TIFF", save_all=True, append_images=[alpha, grey])


def avifs() -> Iterator[tuple[str, bytes]]:
    """AVIFs: grey, with alpha, rotated, animated, not subsampled."""
    grey, colours = gradient("L", SIZE), gradient("RGB", SIZE)
    alpha = colours.copy()
    alpha.putalpha(grey)
    yield "rgb.avif", encode(colours, "AVIF")
    yield "grey.avif", encode(grey, "AVIF")
    yield "alpha.avif", encode(alpha, "AVIF")
    yield "rotated.avif", encode(colours, "AVIF", exif=_exif())
    yield "animated.avif", encode(colours, "AVIF", save_all=True, append_images=[alpha])
    yield "full.avif", encode(colours, "AVIF", subsampling="4:4:4", quality=100)


def heics() -> Iterator[tuple[str, bytes]]:
    """HEICs, if the extra is installed: grey, with alpha, rotated, in a grid, several images."""
    grey, colours = gradient("L", SIZE), gradient("RGB", SIZE)
    alpha = colours.copy()
    alpha.putalpha(grey)
    yield "rgb.heic", encode(colours, "HEIF")
    yield "grey.heic", encode(grey, "HEIF")
    yield "alpha.heic", encode(alpha, "HEIF")
    yield "rotated.heic", encode(colours, "HEIF", exif=_exif())
    yield "grid.heic", encode(colours.resize((200, 100)), "HEIF", tile_size=64)
    yield "images.heic", encode(colours, "HEIF", save_all=True, append_images=[alpha])


IMAGE_KINDS = {"images": images, "gif": gifs, "tiff": tiffs, "avif": avifs, "heic": heics}


def all_images() -> dict[str, bytes]:
    """The files of every format, by their names."""
    return {name: data for kind in IMAGE_KINDS for name, data in corpus(kind).items()}


def requests() -> Iterator[tuple[str, bytes]]:
    """Each unary method, under its name; those that infer in each form of their tensors."""
    for name, message in _inferences().items():
        yield f"ModelInfer.{name}", message.SerializeToString(deterministic=True)
    (image, other) = (encode(gradient("L", SIZE), kind) for kind in ("PNG", "JPEG"))
    for name, one in (("png", image), ("jpeg", other)):
        asked = classifier_pb2.ClassifyRequest(model=MODEL, image=one, top_k=2)
        yield f"Classify.{name}", asked.SerializeToString(deterministic=True)
    batch = classifier_pb2.ClassifyBatchRequest(model=MODEL, images=[image, other], top_k=3)
    yield "ClassifyBatch.two", batch.SerializeToString(deterministic=True)
    for name, other_message in _others().items():
        yield name, other_message.SerializeToString(deterministic=True)


def bodies() -> Iterator[tuple[str, bytes]]:
    """Bodies of HTTP requests, each behind the length of its JSON, or an empty line for all."""
    pixels = gradient("L", (SIDE, SIDE))
    image: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 1]}
    flat = json.dumps({"inputs": [image | {"data": [7] * SIDE**2}]}).encode()
    yield "flat.json", b"\n" + flat
    nested = image | {"shape": [1, 2, 2, 1], "data": [[[[1], [2]], [[3], [4]]]]}
    asked = {"id": "r", "parameters": {"priority": 1}, "outputs": [{"name": "logits"}]}
    yield "nested.json", b"\n" + json.dumps({"inputs": [nested]} | asked).encode()
    text: dict[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["aGk="]}
    text["parameters"] = {"content_type": "base64"}
    yield "base64.json", b"\n" + json.dumps({"inputs": [text]}).encode()
    raw = pixels.tobytes()
    behind = json.dumps({"inputs": [image | {"parameters": {"binary_data_size": len(raw)}}]})
    yield "binary", b"%d\n" % len(behind) + behind.encode() + raw


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _inferences() -> dict[str, pb.ModelInferRequest]:
    """Raw pixels, typed pixels, encoded images, and everything that may stand beside them."""
    pixels = gradient("L", (SIDE, SIDE)).tobytes()
    raw, typed, images, full = (pb.ModelInferRequest(model_name=MODEL) for _ in range(4))
    for request in (raw, full):
        request.inputs.add(name="image", datatype="UINT8", shape=[1, SIDE, SIDE, 1])
        request.raw_input_contents.append(pixels)
    tensor = typed.inputs.add(name="image", datatype="UINT8", shape=[1, SIDE, SIDE, 1])
    tensor.contents.uint_contents.extend(pixels)
    encoded = images.inputs.add(name="image", datatype="BYTES", shape=[2])
    encoded.contents.bytes_contents.extend([encode(gradient("L", SIZE))] * 2)
    full.id, full.model_version = "a-request", "1"
    full.parameters["priority"].uint64_param = 1
    full.parameters["timeout"].int64_param = 60_000_000
    full.parameters["other"].double_param = 0.5
    wanted = full.outputs.add(name="logits")
    wanted.parameters["classification"].int64_param = 3
    return {"raw": raw, "typed": typed, "images": images, "full": full}


def _others() -> Mapping[str, Any]:
    """One request of every other method that takes more than nothing."""
    load = pb.RepositoryModelLoadRequest(model_name=MODEL)
    load.parameters["config"].string_param = '{"max_batch_size": 4}'
    log = pb.LogSettingsRequest()
    log.settings["log_verbose_level"].uint32_param = 0
    return {
        "ListModels": classifier_pb2.ListModelsRequest(),
        "ModelReady": pb.ModelReadyRequest(name=MODEL, version="1"),
        "ModelMetadata": pb.ModelMetadataRequest(name=MODEL, version="1"),
        "ModelConfig": pb.ModelConfigRequest(name=MODEL, version="1"),
        "ModelStatistics": pb.ModelStatisticsRequest(name=MODEL),
        "RepositoryIndex": pb.RepositoryIndexRequest(ready=True),
        "RepositoryModelLoad": load,
        "RepositoryModelUnload": pb.RepositoryModelUnloadRequest(model_name=MODEL),
        "LogSettings": log,
        "TraceSetting": pb.TraceSettingRequest(model_name=MODEL),
        "SystemSharedMemoryRegister": pb.SystemSharedMemoryRegisterRequest(),
    }


def main() -> None:
    """Write the corpus."""
    kinds = {**IMAGE_KINDS, "requests": requests, "bodies": bodies}
    for kind, files in kinds.items():
        folder = CORPUS / kind
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
