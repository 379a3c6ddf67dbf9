"""The input and the scores of a graph, as a manifest states them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime import InferenceSession

from convoy.artifact.golden import as_scores, softmax
from convoy.artifact.manifest import (
    InputTensor,
    Manifest,
    Normalization,
    OutputTensor,
    Preprocessing,
)
from convoy.artifact.preprocess import to_input
from convoy.export.data import Split

_BATCH_SIZE = 8
"""Images in a run; it bounds the memory, and no answer depends on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """
    The way from images to scores.

    Attributes:
        scores: The output that is compared.
        max_batch_size: Maximum number of images that the graph takes at once.
    """

    input: InputTensor
    normalization: Normalization
    preprocessing: Preprocessing
    scores: OutputTensor
    max_batch_size: int

    @classmethod
    def of(cls, manifest: Manifest) -> Interface:
        """Return the interface that *manifest* states."""
        return cls(
            input=manifest.input,
            normalization=manifest.normalization,
            preprocessing=manifest.preprocessing,
            scores=manifest.scores,
            max_batch_size=manifest.max_batch_size,
        )

    def batches(self, images: Split) -> Iterator[npt.NDArray[Any]]:
        """
        Yield *images* as the graph takes them, a few at a time: `[n, ...]`.

        Raises:
            DataError: If one cannot be read or decoded; names it.
        """
        size = min(_BATCH_SIZE, self.max_batch_size)
        for pixels in images.batches(self.preprocessing):
            items = np.stack([to_input(p, self.input, self.normalization) for p in pixels])
            yield from (items[start : start + size] for start in range(0, len(items), size))

    def scores_of(self, session: InferenceSession, images: Split) -> npt.NDArray[np.float32]:
        """
        Return the graph's scores for *images*: float32 `[N, classes]`.

        Raises:
            DataError: If an image cannot be read or decoded; names it.
        """
        runs = (
            session.run([self.scores.name], {self.input.name: batch})[0]
            for batch in self.batches(images)
        )
        return np.concatenate([as_scores(scores) for scores in runs])

    def probabilities(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the probabilities of *scores*, each `[N, classes]`."""
        return softmax(scores) if self.scores.kind == "logits" else scores
