"""Occlusion: which parts of an image a class depends on.

Zeiler and Fergus, arXiv:1311.2901, section 4.2. A patch is hidden at one place after the other.
The more the probability of a class falls, the more it depends on what is hidden. Any network can be
explained like this, since only its answers count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from convoy.artifact.manifest import InputTensor
from convoy.service.engine import Tensor

PLACES = 10
"""Maximum number of places along each side."""

PATCH_SHARE = 5
"""Share of each side that a patch hides, as a divisor: neighbouring patches overlap by half."""


@dataclass(frozen=True, slots=True)
class Places:
    """
    The places at which a patch hides a part of the input, in pixels of the input.

    Attributes:
        patch: Height and width of the patch.
        rows: Its first row at each place, from top to bottom.
        columns: Its first column at each place, from left to right.
    """

    patch: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @classmethod
    def of(cls, shape: InputTensor) -> Places:
        """Spread places over an input of this shape."""
        height, width = -(-shape.height // PATCH_SHARE), -(-shape.width // PATCH_SHARE)
        return cls((height, width), _spread(shape.height - height), _spread(shape.width - width))

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def hide(self, image: Tensor, shape: InputTensor, most: int) -> Iterator[Tensor]:
        """
        Yield copies of *image*, `[1, ...]`, with one place hidden in each, row by row.

        What is hidden has the mean colour of the image. Each batch, `[N, ...]`, has at most *most*
        copies.
        """
        # Views of the same memory as `[N, H, W, C]`.
        pixels = image if shape.layout == "NHWC" else np.moveaxis(image, 1, -1)
        colour = pixels.mean(axis=(0, 1, 2)).astype(image.dtype)
        places = [(row, column) for row in self.rows for column in self.columns]
        for start in range(0, len(places), most):
            some = places[start : start + most]
            batch = np.repeat(image, len(some), axis=0)
            copies = batch if shape.layout == "NHWC" else np.moveaxis(batch, 1, -1)
            for copy, (row, column) in zip(copies, some, strict=True):
                copy[row : row + self.patch[0], column : column + self.patch[1]] = colour
            yield batch


def _spread(last: int) -> tuple[int, ...]:
    """Return at most `PLACES` different integers from 0 to *last*, evenly spread."""
    return tuple(dict.fromkeys(np.linspace(0, last, PLACES).round().astype(int).tolist()))
