"""Places that are hidden, on images of either layout."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from convoy.artifact.manifest import InputTensor
from convoy.service.serving.occlusion import PLACES, Places


def shape_of(layout: Literal["NHWC", "NCHW"], height: int, width: int) -> InputTensor:
    return InputTensor(
        name="image", dtype="float32", layout=layout, channels=3, height=height, width=width
    )


@pytest.mark.parametrize("side", [1, 4, 28, 224])
def test_places_cover_the_image(side: int) -> None:
    """
    Every pixel is hidden at some place, no place is there twice, and none leaves the image.
    """
    places = Places.of(shape_of("NHWC", side, 2 * side))
    for starts, patch, length in (
        (places.rows, places.patch[0], side),
        (places.columns, places.patch[1], 2 * side),
    ):
        assert len(set(starts)) == len(starts) <= PLACES
        assert {pixel for start in starts for pixel in range(start, start + patch)} == set(
            range(length)
        )


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_hidden_parts(layout: Literal["NHWC", "NCHW"]) -> None:
    """
    Each copy has the mean colour at its place and is the image elsewhere; batches have their size.
    """
    shape = shape_of(layout, 20, 30)
    image = np.random.default_rng(0).random((1, 20, 30, 3), np.float32)
    given = image if layout == "NHWC" else np.ascontiguousarray(np.moveaxis(image, -1, 1))
    places = Places.of(shape)
    batches = list(places.hide(given, shape, 8))
    assert {len(batch) for batch in batches[:-1]} == {8}
    copies = np.concatenate(batches)
    assert len(copies) == len(places) == 100
    copies = copies if layout == "NHWC" else np.moveaxis(copies, 1, -1)
    for number, copy in enumerate(copies):
        row, column = places.rows[number // 10], places.columns[number % 10]
        expected = image[0].copy()
        expected[row : row + 4, column : column + 6] = image.mean(axis=(0, 1, 2))
        assert copy == pytest.approx(expected, abs=1e-6)
