"""Parquet files of images, as large as a row needs them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

DIFFERENT = 100
"""Number of different images, which a file repeats."""


def write_images(path: Path, count: int, *, digits: bool) -> None:
    """Write *count* images, PNGs of 28x28 grey pixels or JPEGs of 500x375 pixels, in row groups."""
    images = _digits() if digits else _photos()
    group = 10_000 if digits else 500
    with pq.ParquetWriter(path, pa.schema([("image", pa.binary())])) as writer:
        for start in range(0, count, group):
            rows = range(start, min(count, start + group))
            writer.write_table(pa.table({"image": [images[row % DIFFERENT] for row in rows]}))


def _photos() -> Sequence[bytes]:
    """Return JPEGs of smooth noise, which compresses like photographs."""
    return [_image((24, 32, 3), (500, 375), "JPEG", seed) for seed in range(DIFFERENT)]


def _digits() -> Sequence[bytes]:
    return [_image((7, 7), (28, 28), "PNG", seed) for seed in range(DIFFERENT)]


def _image(shape: tuple[int, ...], size: tuple[int, int], file_format: str, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, shape, np.uint8))
    encoded = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(encoded, file_format, quality=90)
    return encoded.getvalue()
