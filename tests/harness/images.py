"""Encoded images for tests."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from tests.harness import tiny


def encode(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Encode *image*."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(first: int) -> bytes:
    """A PNG of the tiny model's own size whose first pixel is *first*."""
    return encode(Image.fromarray(tiny.pixels(first)[0, :, :, 0]))


def gradient(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    """An image with no symmetry: red grows to the right, green downwards."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0] = np.linspace(0, 255, width)[None, :]
    pixels[:, :, 1] = np.linspace(0, 255, height)[:, None]
    pixels[:, :, 2] = 60
    return Image.fromarray(pixels).convert(mode)
