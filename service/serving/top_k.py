"""The best classes of a model's outputs, with their labels and probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convoy.artifact.golden import as_scores, softmax
from convoy.artifact.manifest import Manifest
from convoy.service.call import Outputs
from convoy.service.errors import InvalidArgumentError

MAX_TOP_K = 1000
DEFAULT_TOP_K = 5


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class: its index in the output, its label, and its probability in `[0, 1]`."""

    class_index: int
    label: str
    probability: float


def check_top_k(k: int) -> None:
    """Raise `InvalidArgumentError` if *k* is not in `[0, 1000]`."""
    if not 0 <= k <= MAX_TOP_K:
        raise InvalidArgumentError(f"top_k is {k}; it must be in [1, {MAX_TOP_K}], or 0 for 5")


def top_k(outputs: Outputs, manifest: Manifest, k: int) -> list[list[Prediction]]:
    """Return the *k* most probable classes of each image, most probable first; 5 if *k* is 0."""
    probabilities = _probabilities(outputs, manifest)
    count = min(k or DEFAULT_TOP_K, probabilities.shape[1])
    best = largest(probabilities, count)
    labels = manifest.labels
    return [
        [Prediction(index, labels[index], float(row[index])) for index in indices]
        for row, indices in zip(probabilities, best.tolist(), strict=True)
    ]


def largest(values: npt.NDArray[Any], count: int) -> npt.NDArray[np.intp]:
    """Return the indices of the *count* largest of each row, largest first; ties by index."""
    # A partition first: sorting all of 1,000 classes takes more than twice as long.
    if count < values.shape[1]:
        some = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1)
    else:
        some = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    order = np.argsort(-np.take_along_axis(values, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def _probabilities(outputs: Outputs, manifest: Manifest) -> npt.NDArray[Any]:
    # A model with its own softmax or sigmoid has an output of probabilities; others give logits.
    if output := manifest.probabilities:
        return as_scores(outputs[output.name])
    return softmax(as_scores(outputs[manifest.scores.name]))
