"""Signals of images and answers, in numbers: for the log of predictions and for drift."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from convoy.artifact import image_formats
from convoy.artifact.golden import softmax
from convoy.artifact.manifest import InputTensor, Manifest, Normalization

MAX_SAMPLED_SIDE_PX = 32
"""
Rows and columns of an image that are looked at.

More change neither by a hundredth, and cost the server more than the answer of a small network.
"""


DECIMALS = 4
"""
Digits after the point of signals that are compared with a baseline.

Devices and precisions differ in more: answers with the same confidence must not differ in its bin.
"""

ScoreKind = Literal["logits", "probabilities", "independent", "other"]


class Encoded(NamedTuple):
    """The header of an encoded image; width and height in pixels as stored."""

    format: str
    width: int
    height: int


def read_header(data: bytes) -> Encoded | None:
    """Read the header of an encoded image; return None if it is not an image."""
    try:
        with Image.open(io.BytesIO(data), formats=image_formats.FORMATS) as image:
            return Encoded(image_formats.name(image), image.width, image.height)
    # It says nothing about the image.
    except MemoryError:
        raise
    # Pillow's plug-ins raise almost anything; the decoder has told the client.
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


def look(
    batches: Sequence[npt.NDArray[Any]], tensor: InputTensor, normalization: Normalization
) -> dict[str, npt.NDArray[np.float32]]:
    """
    Describe the N images that a network receives: float32 `[N]` each, of pixels in `[0, 1]`.

    The values are `brightness` (mean), `contrast` (standard deviation), `sharpness` (mean
    difference of neighbours in a row), and of colour images `warmth` (red less blue).

    Args:
        batches: The graph's inputs, `[n, ...]` each, of which a grid is looked at.
    """
    images = [one if tensor.layout == "NHWC" else one.transpose(0, 2, 3, 1) for one in batches]
    rows = max(1, tensor.height // MAX_SAMPLED_SIDE_PX)
    columns = max(1, tensor.width // MAX_SAMPLED_SIDE_PX)
    # The pixels of all images together: most of the time is that of a call, not of an image.
    grid, right = (
        _pixels(
            np.concatenate([one[:, ::rows, first::columns] for one in images]),
            tensor,
            normalization,
        )
        for first in (0, 1)
    )
    steps = np.abs(grid[:, :, : right.shape[2]] - right)
    found = {
        "brightness": grid.mean(axis=(1, 2, 3)),
        "contrast": grid.std(axis=(1, 2, 3)),
        # An image that is one pixel wide has no neighbours.
        "sharpness": steps.mean(axis=(1, 2, 3)) if right.size else np.zeros(len(grid), np.float32),
    }
    if tensor.channels == 3:
        found["warmth"] = (grid[..., 0] - grid[..., 2]).mean(axis=(1, 2))
    return found


def _pixels(
    values: npt.NDArray[Any], tensor: InputTensor, normalization: Normalization
) -> npt.NDArray[np.float32]:
    """Return pixels in `[0, 1]` of values of the graph's input."""
    pixels = values.astype(np.float32)
    # The graph normalises its input: it has pixels of 0 to 255.
    if tensor.dtype == "uint8" or normalization.where == "graph":
        return pixels / np.float32(255)
    std = np.asarray(normalization.std, np.float32)
    return pixels * std + np.asarray(normalization.mean, np.float32)


def of_scores(scores: npt.NDArray[Any], kind: ScoreKind) -> dict[str, npt.NDArray[Any]]:
    """
    Return the signals of answers: the confidence, and for single labels entropy and class.

    Args:
        scores: Finite, `[N, classes]`.
        kind: The kind of the output that holds them.
    """
    rows = softmax(scores) if kind == "logits" else scores
    signals = {"confidence": rows.max(axis=1).round(DECIMALS)}
    if kind != "independent":
        signals |= {"entropy": entropy(rows).round(DECIMALS), "class": rows.argmax(axis=1)}
    return signals


def of_inputs(
    batches: Sequence[npt.NDArray[Any]], tensor: InputTensor, normalization: Normalization
) -> dict[str, npt.NDArray[Any]]:
    """Return the signals of the graph's inputs, `[n, ...]` each: see `look`."""
    found = look(batches, tensor, normalization)
    return {name: values.round(DECIMALS) for name, values in found.items()}


def of_answers(
    scores: npt.NDArray[Any],
    batches: Sequence[npt.NDArray[Any]],
    encoded: Sequence[bytes],
    manifest: Manifest,
) -> dict[str, npt.NDArray[Any]]:
    """
    Return all signals of some images and their answers.

    Args:
        scores: `[N, classes]`. Rows with a value that is not finite are left out: such answers are
            failures, which have metrics of their own.
        batches: The graph's inputs, `[n, ...]` each.
        encoded: The images as they were sent; empty for tensors.
    """
    finite = scores[np.isfinite(scores).all(axis=1)]
    return {
        **of_scores(finite, manifest.scores.kind),
        **of_inputs(batches, manifest.input, manifest.normalization),
        **of_headers(encoded),
    }


def of_headers(images: Sequence[bytes]) -> dict[str, npt.NDArray[Any]]:
    """Return the signals of those *images* that are some: pixels, and width / height."""
    headers = [header for header in map(read_header, images) if header]
    if not headers:
        return {}
    ratios = np.array([header.width / header.height for header in headers])
    return {
        "size": np.array([header.width * header.height for header in headers], np.float64),
        "aspect_ratio": ratios.round(DECIMALS),
    }
