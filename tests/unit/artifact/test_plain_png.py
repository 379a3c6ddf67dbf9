"""The usual PNG, read without Pillow's reader of chunks: the same pixels, the same refusals."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, PngImagePlugin

from convoy.artifact import plain_png
from convoy.artifact.errors import ImageError, ImageTooLargeError
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import decode
from tests.harness.images import encode, gradient

SPEC = Preprocessing(
    color="RGB",
    resize_px=8,
    crop_height_px=8,
    crop_width_px=8,
    crop_offset="even",
    pad_px=0,
    interpolation="bilinear",
    antialias=True,
)


def pixels(data: bytes, *, plainly: bool) -> npt.NDArray[np.uint8] | type[Exception]:
    """The pixels of an image, or the kind of its refusal; by either way of reading it."""
    with pytest.MonkeyPatch.context() as patch:
        if not plainly:
            patch.setattr(plain_png, "read", lambda data: None)
        try:
            return np.asarray(decode(data, SPEC))
        except ImageError as error:
            return type(error)


def same(data: bytes) -> bool:
    """Return whether both ways agree."""
    one, other = (pixels(data, plainly=plainly) for plainly in (True, False))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return one is other


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with its checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (301, 7), (640, 480)])
def test_same_pixels(mode: str, size: tuple[int, int]) -> None:
    """
    Images in one chunk of data, and in many, are read, and have Pillow's pixels.
    """
    random = np.random.default_rng(0)
    shape = size[::-1] if mode == "L" else (*size[::-1], 3)
    image = Image.fromarray(random.integers(0, 256, shape, np.uint8))
    for options in ({}, {"optimize": True}, {"compress_level": 0}):
        file = io.BytesIO()
        image.save(file, "PNG", **options)
        found = plain_png.read(file.getvalue())
        assert found
        assert np.array_equal(np.asarray(found.decode()), np.asarray(image))
        assert same(file.getvalue())
        assert same(file.getvalue() + b"more")


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "I;16"])
def test_other_kinds(mode: str) -> None:
    """
    Other kinds are left to Pillow, and so are orientations, transparent colours and animations.
    """
    image = gradient("L")
    deep = Image.fromarray(np.asarray(image).astype(np.uint16))
    assert plain_png.read(encode(deep if mode == "I;16" else image.convert(mode))) is None
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "1")
    exif = Image.Exif()
    exif[0x0112] = 6
    for options in (
        {"pnginfo": text},
        {"exif": exif},
        {"transparency": 3},
        {"save_all": True, "append_images": [gradient("L").rotate(90)]},
    ):
        file = io.BytesIO()
        gradient("L").save(file, "PNG", **options)
        assert plain_png.read(file.getvalue()) is None


def test_limits_come_before_pixels() -> None:
    """
    A small file of many pixels is refused before they are decoded.
    """
    header = struct.pack(">II5B", 40_000, 40_000, 8, 0, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    )
    assert plain_png.read(data)
    with pytest.raises(ImageTooLargeError, match="40000x40000"):
        decode(data, SPEC)


def test_damage_is_refused_as_before() -> None:
    """
    Whatever is cut, changed, or wrong inside intact chunks, both ways agree.
    """
    random = np.random.default_rng(0)
    whole = encode(Image.fromarray(random.integers(0, 256, (9, 11, 3), np.uint8)))
    for at in range(len(whole)):
        assert same(whole[:at])
        assert same(whole[:at] + bytes([whole[at] ^ random.integers(1, 256)]) + whole[at + 1 :])
    start, stop = whole.index(b"IDAT"), whole.index(b"IEND") - 4
    data = whole[start + 4 : stop - 4]
    for _ in range(300):
        changed = bytearray(data)
        changed[random.integers(len(data))] = random.integers(256)
        changed = changed[: random.integers(len(data) // 2, len(data) + 1)]
        assert same(whole[: start - 4] + chunk(b"IDAT", bytes(changed)) + whole[stop:])


def test_damaged_data_are_refused() -> None:
    """
    Data whose chunk is intact but which are none are a damaged image.
    """
    header = struct.pack(">II5B", 4, 4, 8, 0, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    )
    with pytest.raises(ImageError, match="the PNG image is damaged or truncated"):
        decode(data, SPEC)
