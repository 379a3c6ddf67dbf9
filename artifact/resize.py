"""A decoded image -> the pixels of the network's input: resize, crop, pad.

The results are those of the programs that trained the network. Pillow resizes with antialiasing,
for torchvision, timm, transformers and Keras; without it, the sampling here gives PyTorch's values.
What the crop cuts off is not computed, as far as that changes no pixel: for a side of 256, always.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from convoy.artifact.manifest import Preprocessing

Pixels = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float32]

Box = tuple[float, float, float, float]
"""A part of an image in pixels: left, top, right, bottom."""

_CUBIC = -0.75
"""Slope of the cubic kernel in PyTorch and OpenCV, where nothing is antialiased."""


def fit(
    image: Image.Image,
    spec: Preprocessing,
    size: tuple[int, int] | None = None,
    box: Box | None = None,
) -> Pixels:
    """
    Resize, crop and pad *image*, which is grey or RGB: uint8 `[H, W, C]`.

    Args:
        size: Width and height of the image that *image* shows, if it was decoded smaller.
        box: The part of *image* that shows it; all of it if it is None.
    """
    width, height = resized_size(size or image.size, spec)
    columns = _centre(width, spec.crop_width_px, spec)
    rows = _centre(height, spec.crop_height_px, spec)
    pixels = _resize(image, box or (0, 0, *image.size), columns, rows, spec)
    pixels = pixels.reshape(*pixels.shape[:2], spec.channels)
    if spec.color == "BGR":
        pixels = pixels[:, :, ::-1]
    if spec.letterbox is not None:
        pixels = _fill(pixels, spec, spec.letterbox)
    if spec.pad_px:
        # Not np.pad, which takes a sixth of all decoding of a digit.
        padded = np.zeros((spec.height, spec.width, spec.channels), np.uint8)
        padded[spec.pad_px : -spec.pad_px, spec.pad_px : -spec.pad_px] = pixels
        pixels = padded
    return np.ascontiguousarray(pixels)


def resized_size(size: tuple[int, int], spec: Preprocessing) -> tuple[int, int]:
    """Return the width and height of an image of this width and height after resizing."""
    width, height = size
    # A shorter side: truncate the longer one, as torchvision and transformers do.
    if isinstance(px := spec.resize_px, int):
        if width <= height:
            return px, max(px, int(px * height / width))
        return max(px, int(px * width / height)), px
    if spec.letterbox is None:
        return px[1], px[0]
    # A letterbox: round, as timm does.
    ratio = max(height / px[0], width / px[1])
    return max(1, round(width / ratio)), max(1, round(height / ratio))


class _Range(NamedTuple):
    """The part of a side after resizing that is kept: pixels from *start* to *stop* of *length*."""

    start: int
    stop: int
    length: int


def _centre(length: int, crop_px: int, spec: Preprocessing) -> _Range:
    """Return the centre of a side; one that is shorter than the crop stays as it is."""
    excess = max(0, length - crop_px)
    start = round(excess / 2) if spec.crop_offset == "even" else excess // 2
    return _Range(start, start + length - excess, length)


def _resize(
    image: Image.Image, box: Box, columns: _Range, rows: _Range, spec: Preprocessing
) -> Pixels:
    """Return *columns* and *rows* of what *box*, a part of *image*, is resized to."""
    size = columns.length, rows.length
    kept = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
    # Pillow would copy an image that has the size already.
    if image.size == size and box == (0, 0, *size):
        return np.asarray(image)[kept]
    if spec.averages:
        return _average(image, box, columns, rows, spec.interpolation)
    if spec.interpolation == "nearest":
        return np.asarray(image.resize(size, Image.Resampling.NEAREST))[kept]
    # Rows first: from a large image, only those that the result needs become floats.
    sampled = _sample(np.asarray(image), rows, spec.interpolation)
    sampled = _sample(sampled.swapaxes(0, 1), columns, spec.interpolation)
    return np.rint(sampled.swapaxes(0, 1)).clip(0, 255).astype(np.uint8)


class _Part(NamedTuple):
    """Pixels from *start* to *stop* of a result, and the part of the image that they show."""

    start: int
    stop: int
    low: float
    high: float


def _average(image: Image.Image, box: Box, columns: _Range, rows: _Range, name: str) -> Pixels:
    """Resize with antialiasing, as Pillow does, without what is cut off if that changes nothing."""
    whole = _Part(0, columns.length, box[0], box[2]), _Part(0, rows.length, box[1], box[3])
    needed = _needed(whole[0], columns), _needed(whole[1], rows)
    is_same = _shortens_rows_first(image, *whole) and _shortens_rows_first(image, *needed)
    across, down = needed if is_same else whole
    resized = image.resize(
        (across.stop - across.start, down.stop - down.start),
        Image.Resampling[name.upper()],
        (across.low, down.low, across.high, down.high),
    )
    top, left = rows.start - down.start, columns.start - across.start
    return np.asarray(resized)[
        top : top + rows.stop - rows.start, left : left + columns.stop - columns.start
    ]


def _needed(whole: _Part, kept: _Range) -> _Part:
    """
    Return the part of a side that is kept, if Pillow gives it the same pixels by itself.

    Pillow's boxes are float32. A rounded one would change one value in a thousand by 1.
    """
    step = (whole.high - whole.low) / kept.length
    low, high = whole.low + step * kept.start, whole.low + step * kept.stop
    if all(float(np.float32(value)) == value for value in (step, low, high)):
        return _Part(kept.start, kept.stop, low, high)
    return whole


def _shortens_rows_first(image: Image.Image, across: _Part, down: _Part) -> bool:
    """
    Return whether Pillow resizes the width before the height; the other order rounds otherwise.

    Pillow up to 12 always does. Since 13 it does not where the height shrinks by more than twice as
    many pixels as the width (https://github.com/python-pillow/Pillow/pull/9549).
    """
    width, height = across.stop - across.start, down.stop - down.start
    return image.height - height <= 2 * (image.width - width)


def _sample(pixels: npt.NDArray[np.generic], rows: _Range, interpolation: str) -> _Floats:
    """Return *rows*, each interpolated between the rows of *pixels* next to it."""
    count = len(pixels)
    # The centres of the first and the last pixel lie half a pixel from the border.
    place = (np.arange(rows.start, rows.stop) + 0.5) * (count / rows.length) - 0.5
    first = np.floor(place).astype(np.int64)
    share = (place - first).astype(np.float32).reshape(-1, *[1] * (pixels.ndim - 1))
    taps = _linear(share) if interpolation == "bilinear" else _cubic(share)
    total = np.zeros((len(place), *pixels.shape[1:]), np.float32)
    for offset, weight in taps:
        total += pixels[(first + offset).clip(0, count - 1)] * weight
    return total


def _linear(share: _Floats) -> Iterable[tuple[int, _Floats]]:
    return (0, 1 - share), (1, share)


def _cubic(share: _Floats) -> Iterable[tuple[int, _Floats]]:
    """Return the offsets and weights of Keys' kernel, 1981, whose slope is `_CUBIC`."""
    a = np.float32(_CUBIC)

    def near(x: _Floats) -> _Floats:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: _Floats) -> _Floats:
        return ((x - 5) * x + 8) * x * a - 4 * a

    return (-1, far(share + 1)), (0, near(share)), (1, near(1 - share)), (2, far(2 - share))


def _fill(pixels: Pixels, spec: Preprocessing, color: tuple[int, ...]) -> Pixels:
    """Lay *pixels* on the middle of a ground of *color*, nearer to the upper left if in doubt."""
    filled = np.empty((spec.crop_height_px, spec.crop_width_px, spec.channels), np.uint8)
    filled[:] = color
    height, width = pixels.shape[:2]
    top, left = (spec.crop_height_px - height) // 2, (spec.crop_width_px - width) // 2
    filled[top : top + height, left : left + width] = pixels
    return filled
