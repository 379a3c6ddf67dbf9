"""The best classes of a model's outputs, with their labels and probabilities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convoy.artifact.golden import as_scores, softmax
from convoy.artifact.manifest import Manifest
from convoy.service.errors import InvalidArgumentError, ScoresNotFiniteError
from convoy.service.telemetry.batch_record import Outputs

MAX_TOP_K = 1000
DEFAULT_TOP_K = 5


_FEW_CLASSES = 64
"""Up to this number, sorting all classes is faster than a partition first."""


class Prediction(NamedTuple):
    """One class: its index in the output, its label, and its probability in `[0, 1]`."""

    class_index: int
    label: str
    probability: float


def check_top_k(k: int) -> None:
    """Raise `InvalidArgumentError` if *k* is not in `[0, 1000]`."""
    if not 0 <= k <= MAX_TOP_K:
        raise InvalidArgumentError(f"top_k is {k}; it must be 1 to {MAX_TOP_K}, or 0 for 5")


def top_k(outputs: Outputs, manifest: Manifest, k: int) -> list[list[Prediction]]:
    """
    Return the *k* most probable classes of each image, most probable first; 5 if *k* is 0.

    Raises:
        ScoresNotFiniteError: If the scores of an image are not finite.
    """
    rows = probabilities(outputs, manifest)
    count = min(k or DEFAULT_TOP_K, rows.shape[1])
    best = largest(rows, count)
    labels = manifest.labels
    found = zip(best.tolist(), np.take_along_axis(rows, best, axis=1).tolist(), strict=True)
    return [
        [Prediction(index, labels[index], value) for index, value in zip(*pair, strict=True)]
        for pair in found
    ]


def largest(values: npt.NDArray[Any], count: int) -> npt.NDArray[np.intp]:
    """Return the indices of the *count* largest of each row, largest first; ties by index."""
    negative = -values
    if values.shape[1] <= _FEW_CLASSES:
        return np.argsort(negative, axis=1, kind="stable")[:, :count]
    # A partition first: sorting all of 1,000 classes takes longer. It places equal values in any
    # order, so all that equal the last of the largest are candidates.
    last = np.partition(negative, count - 1, axis=1)[:, count - 1 : count]
    candidates = [np.flatnonzero(row) for row in negative <= last]
    return np.stack(
        [
            indices[np.argsort(row[indices], kind="stable")[:count]]
            for row, indices in zip(negative, candidates, strict=True)
        ]
    )


def check_finite(scores: npt.NDArray[Any]) -> None:
    """
    Check that each image has a best class: its largest score is finite.

    Args:
        scores: `[N, classes]`. A logit of minus infinity rules its class out, which is valid.

    Raises:
        ScoresNotFiniteError: If scores of an image hold NaN or infinity, or are all minus infinity.
    """
    failed = np.flatnonzero(~np.isfinite(scores.max(axis=1)))  # NaN is the maximum, if there is one
    if len(failed):
        where = "this image" if len(scores) == 1 else f"image {failed[0]}"
        raise ScoresNotFiniteError(
            f"the model's scores for {where} are NaN or infinite, so that it has no best class; "
            "send another image, or look in the model for a logarithm or division of 0, or an "
            "overflow (float16 overflows at 65504)"
        )


def probabilities(outputs: Outputs, manifest: Manifest) -> npt.NDArray[Any]:
    """
    Return the probability of each class, `[N, classes]`.

    Raises:
        ScoresNotFiniteError: If the scores of an image are not finite.
    """
    # A model with its own softmax or sigmoid has an output of probabilities; others give logits.
    output = manifest.probabilities
    scores = as_scores(outputs[(output or manifest.scores).name])
    check_finite(scores)
    return scores if output else softmax(scores)
