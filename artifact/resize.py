"""A decoded image -> the pixels of the network's input: resize, crop, pad.

The results are those of the programs that trained the network. Pillow resizes with antialiasing,
for torchvision, timm, transformers and Keras; without it, the sampling here gives PyTorch's values.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image

from convoy.artifact.manifest import Preprocessing

Pixels = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float32]

_CUBIC = -0.75
"""Slope of the cubic kernel in PyTorch and OpenCV, where nothing is antialiased."""


def fit(image: Image.Image, spec: Preprocessing) -> Pixels:
    """Resize, crop and pad *image*, which is grey or RGB: uint8 `[H, W, C]`."""
    size = resized_size(image.size, spec)
    pixels = _resize(image, size, spec).reshape(size[1], size[0], spec.channels)
    pixels = _crop(pixels, spec)
    if spec.color == "BGR":
        pixels = pixels[:, :, ::-1]
    if spec.letterbox is not None:
        pixels = _fill(pixels, spec, spec.letterbox)
    if spec.pad_px:
        pad = (spec.pad_px, spec.pad_px)
        pixels = np.pad(pixels, (pad, pad, (0, 0)))
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


def _resize(image: Image.Image, size: tuple[int, int], spec: Preprocessing) -> Pixels:
    # Pillow would copy an image that has the size already.
    if image.size == size:
        return np.asarray(image)
    if spec.antialias or spec.interpolation == "nearest":
        resampling = Image.Resampling[spec.interpolation.upper()]
        return np.asarray(image.resize(size, resampling))
    # Rows first: from a large image, only those that the result needs become floats.
    rows = _sample(np.asarray(image), size[1], spec.interpolation)
    columns = _sample(rows.swapaxes(0, 1), size[0], spec.interpolation)
    return np.rint(columns.swapaxes(0, 1)).clip(0, 255).astype(np.uint8)


def _sample(pixels: npt.NDArray[np.generic], length: int, interpolation: str) -> _Floats:
    """Return *length* rows, each interpolated between the rows of *pixels* next to it."""
    count = len(pixels)
    # The centres of the first and the last pixel lie half a pixel from the border.
    place = (np.arange(length) + 0.5) * (count / length) - 0.5
    first = np.floor(place).astype(np.int64)
    share = (place - first).astype(np.float32).reshape(-1, *[1] * (pixels.ndim - 1))
    taps = _linear(share) if interpolation == "bilinear" else _cubic(share)
    total = np.zeros((length, *pixels.shape[1:]), np.float32)
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


def _crop(pixels: Pixels, spec: Preprocessing) -> Pixels:
    """Cut the centre out of *pixels*; a side that is shorter already stays as it is."""
    height, width = spec.crop_height_px, spec.crop_width_px
    top = _offset(pixels.shape[0] - height, spec)
    left = _offset(pixels.shape[1] - width, spec)
    return pixels[top : top + height, left : left + width]


def _offset(excess: int, spec: Preprocessing) -> int:
    if excess <= 0:
        return 0
    return round(excess / 2) if spec.crop_offset == "even" else excess // 2


def _fill(pixels: Pixels, spec: Preprocessing, color: tuple[int, ...]) -> Pixels:
    """Lay *pixels* on the middle of a ground of *color*, nearer to the upper left if in doubt."""
    filled = np.empty((spec.crop_height_px, spec.crop_width_px, spec.channels), np.uint8)
    filled[:] = color
    height, width = pixels.shape[:2]
    top, left = (spec.crop_height_px - height) // 2, (spec.crop_width_px - width) // 2
    filled[top : top + height, left : left + width] = pixels
    return filled
