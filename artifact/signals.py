"""Signals of images and answers, in numbers: for the log of predictions and for drift."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from convoy.artifact import image_formats
from convoy.artifact.manifest import InputTensor, Normalization

MAX_SAMPLED_SIDE_PX = 32
"""
Rows and columns that brightness and contrast are taken from.

More change neither by a hundredth, and cost the server more than the answer of a small network.
"""


class Encoded(NamedTuple):
    """The header of an encoded image; width and height in pixels as stored."""

    format: str
    width: int
    height: int


def read_header(data: bytes) -> Encoded | None:
    """Read the header of an encoded image; return None if it is not an image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return Encoded(image_formats.name(image), image.width, image.height)
    # Whatever is wrong with the bytes: the decoder has told the client.
    except Exception:
        return None


def entropy(probabilities: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """
    Return the entropy of each image's answer, in nats: 0 for a sure one, log(classes) at most.

    Args:
        probabilities: `[N, classes]`, each row with a sum of 1.
    """
    p = probabilities.astype(np.float64)
    spread: npt.NDArray[np.float64] = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)
    return spread


def light(
    batch: npt.NDArray[Any], tensor: InputTensor, normalization: Normalization
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """
    Return brightness and contrast of each image: mean and standard deviation of pixels in `[0, 1]`.

    Args:
        batch: The graph's input, `[N, ...]`, of which a grid is looked at.
    """
    images = batch if tensor.layout == "NHWC" else batch.transpose(0, 2, 3, 1)
    rows = max(1, tensor.height // MAX_SAMPLED_SIDE_PX)
    columns = max(1, tensor.width // MAX_SAMPLED_SIDE_PX)
    grid = images[:, ::rows, ::columns].astype(np.float32)
    # The graph normalises its input: it is pixels of 0 to 255.
    if tensor.dtype == "uint8" or normalization.where == "graph":
        grid /= 255
    else:
        std = np.asarray(normalization.std, np.float32)
        grid = grid * std + np.asarray(normalization.mean, np.float32)
    flat = grid.reshape(len(grid), -1)
    return flat.mean(axis=1), flat.std(axis=1)
