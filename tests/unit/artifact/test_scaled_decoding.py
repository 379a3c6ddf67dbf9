"""Large JPEGs are decoded at a fraction of their size, and look as if they were not."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from pydantic import ValidationError

from convoy.artifact import jpeg
from convoy.artifact.errors import ImageError, ImageTooLargeError
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import ImageLimits, decode, preprocess
from convoy.artifact.resize import resized_size
from convoy.artifact.scaled_decoding import choose_scale
from tests.fuzz.jpegs import photograph
from tests.harness.images import encode

IMAGES = Path("tests/fuzz/corpus/images")
PHOTO = photograph(random.Random(0), (1203, 901))
SAVED = encode(PHOTO, "JPEG", quality=90)
ORIENTATION = ExifTags.Base.Orientation


def spec(**changes: Any) -> Preprocessing:
    fields: dict[str, Any] = {
        **{"color": "RGB", "resize_px": 48, "crop_height_px": 40, "crop_width_px": 40},
        **{"scaled_decoding": True, **changes},
    }
    return Preprocessing(**fields)


def in_full(made: Preprocessing) -> Preprocessing:
    return made.model_copy(update={"scaled_decoding": False})


def golden(data: bytes, scale: int, made: Preprocessing) -> np.ndarray:
    """The pixels by Pillow alone: decode at a scale, resize the part that shows the image, crop."""
    image = Image.open(io.BytesIO(data))
    width, height = resized_size(image.size, made)
    box = (0, 0, image.width / scale, image.height / scale)
    image.draft(None, (image.width // scale, image.height // scale))
    filter_ = Image.Resampling[made.interpolation.upper()]
    resized = image.convert("RGB").resize((width, height), filter_, box)
    left, top = round((width - made.width) / 2), round((height - made.height) / 2)
    return np.asarray(resized)[top : top + made.height, left : left + made.width]


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        ((4000, 3000), 4),
        ((3000, 4000), 4),
        ((4001, 3003), 4),
        ((1920, 1440), 2),
        ((1023, 1023), 1),
        ((1024, 1024), 2),
        ((2047, 3000), 2),
        ((2048, 3000), 4),
        ((12000, 9000), 8),
        ((500, 375), 1),
        ((20000, 300), 1),
    ],
)
def test_scale(size: tuple[int, int], scale: int) -> None:
    """
    The smallest scale is chosen that leaves both sides twice as long as after resizing.
    """
    photos = spec(resize_px=256, crop_height_px=224, crop_width_px=224)
    assert choose_scale(size, photos) == scale
    assert choose_scale(size, in_full(photos)) == 1


@pytest.mark.parametrize(
    ("size", "scale"), [((4000, 3000), 4), ((3003, 4001), 4), ((2731, 2049), 4), ((1921, 1439), 2)]
)
def test_large_photos(size: tuple[int, int], scale: int) -> None:
    """
    Large photographs have the golden pixels, and look as they do when decoded in full size.
    """
    data = encode(photograph(random.Random(1), size), "JPEG", quality=92)
    made = spec(resize_px=256, crop_height_px=224, crop_width_px=224)
    pixels = preprocess(data, made)
    assert np.array_equal(pixels, golden(data, scale, made))
    change = np.abs(pixels.astype(int) - preprocess(data, in_full(made)))
    assert change.mean() < 0.5
    assert change.max() <= 4


@pytest.mark.parametrize("filter_", ["box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize("progressive", [False, True])
def test_filters(filter_: str, progressive: bool) -> None:
    """
    Each filter that averages has the golden pixels, of a sequential and a progressive JPEG.
    """
    data, made = encode(PHOTO, "JPEG", progressive=progressive), spec(interpolation=filter_)
    assert np.array_equal(preprocess(data, made), golden(data, 8, made))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotation(orientation: int) -> None:
    """
    A photograph is turned upright, and is not shifted: the border pixels of the scaled image, which
    stand for fewer pixels than others, are where the turn moves them.
    """
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    slope = Image.fromarray(np.add.outer(np.arange(905) / 8, np.arange(1201) / 9).astype(np.uint8))
    data = encode(slope.convert("RGB"), "JPEG", quality=100, exif=exif)
    made = spec(resize_px=52, crop_height_px=52, crop_width_px=52)
    change = preprocess(data, made).astype(int) - preprocess(data, in_full(made))
    assert decode(data, made).size in ((151, 114), (114, 151))
    assert np.abs(change).max() <= 1
    assert abs(change.mean()) < 0.05


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("color", ["L", "RGB", "BGR"])
def test_colours(mode: str, color: str) -> None:
    """
    Grey and CMYK are scaled as well, to grey and to colours.
    """
    data = encode(PHOTO.convert(mode), "JPEG")
    made = spec(color=color)
    assert max(decode(data, made).size) == 151
    change = np.abs(preprocess(data, made).astype(int) - preprocess(data, in_full(made)))
    assert change.max() <= 4


def test_unusual_sampling() -> None:
    """
    A sampling that simplejpeg does not know is scaled by Pillow.
    """
    data = (IMAGES / "wide-sampling.jpg").read_bytes()
    width, height = Image.open(io.BytesIO(data)).size
    scaled = jpeg.decode(data, "RGB", 2)
    assert scaled.size == (-(-width // 2), -(-height // 2))
    reference = Image.open(io.BytesIO(data))
    reference.draft(None, (width // 2, height // 2))
    assert np.array_equal(np.asarray(scaled), np.asarray(reference))


def test_other_formats() -> None:
    """
    Only JPEG is scaled.
    """
    data = encode(PHOTO)
    assert decode(data, spec()).size == PHOTO.size
    assert np.array_equal(preprocess(data, spec()), preprocess(data, in_full(spec())))


def with_thumbnails(data: bytes) -> bytes:
    """A JPEG with a black thumbnail in its EXIF data, another one in JFIF's extension."""
    black = encode(Image.new("RGB", (160, 120)), "JPEG")
    # A table of the image, and one of the thumbnail: compression, place, length.
    entries = [(0x0103, 3, 6), (0x0201, 4, 68), (0x0202, 4, len(black))]
    upright = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, ORIENTATION, 3, 1, 1, 26)
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    exif = b"Exif\0\0" + upright + struct.pack("<H", len(entries)) + table + bytes(4) + black
    jfxx = b"JFXX\0\x10" + black
    segments = [(0xE1, exif), (0xE0, jfxx)]
    inserted = b"".join(
        struct.pack(">BBH", 0xFF, kind, len(content) + 2) + content for kind, content in segments
    )
    return data[:20] + inserted + data[20:]


def test_thumbnails_are_not_the_image() -> None:
    """
    Neither a thumbnail nor a second image in the file is ever taken for the image.
    """
    expected = preprocess(SAVED, spec())
    data = with_thumbnails(SAVED)
    assert 0x0201 in Image.open(io.BytesIO(data)).getexif().get_ifd(ExifTags.IFD.IFD1)
    assert np.array_equal(preprocess(data, spec()), expected)
    small = Image.new("RGB", (301, 226))
    several = encode(PHOTO, "MPO", quality=90, save_all=True, append_images=[small])
    assert Image.open(io.BytesIO(several)).format == "MPO"
    assert np.array_equal(preprocess(several, spec()), expected)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_truncated(progressive: bool, share: float) -> None:
    """
    A large JPEG that ends too early is refused, also with an end added.
    """
    data = encode(PHOTO, "JPEG", quality=90, progressive=progressive)
    for cut in (data[: int(share * len(data))], data[: int(share * len(data))] + b"\xff\xd9"):
        with pytest.raises(ImageError):
            preprocess(cut, spec())


def test_overwritten() -> None:
    """
    A large JPEG is refused in which zeros overwrote a part of the data.
    """
    at = len(SAVED) // 2
    with pytest.raises(ImageError):
        preprocess(SAVED[:at] + bytes(64) + SAVED[at + 64 :], spec())


def test_limit_on_pixels() -> None:
    """
    The limit counts the pixels of the file.
    """
    pixels = PHOTO.width * PHOTO.height
    preprocess(SAVED, spec(), ImageLimits(max_pixels=pixels))
    with pytest.raises(ImageTooLargeError, match="1203x901"):
        preprocess(SAVED, spec(), ImageLimits(max_pixels=pixels - 1))


@pytest.mark.parametrize("changes", [{"antialias": False}, {"interpolation": "nearest"}])
def test_picked_pixels_are_those_of_the_full_size(changes: dict[str, Any]) -> None:
    """
    Without averages, a scaled image would have other pixels: the manifest is refused.
    """
    with pytest.raises(ValidationError, match="scaled_decoding needs antialias"):
        spec(**changes)


def test_description() -> None:
    """
    The steps in words name the decoding.
    """
    assert spec().description.startswith("large JPEGs decoded smaller, RGB, shorter side resized")
