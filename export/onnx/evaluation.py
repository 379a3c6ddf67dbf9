"""Accuracy of an exported graph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxruntime import InferenceSession

from convoy.artifact.manifest import Evaluation, Preprocessing
from convoy.export.accuracy import accuracy
from convoy.export.data import Split
from convoy.export.onnx import graph
from convoy.export.subject import HeldOut


def logits_of(
    session: InferenceSession, split: Split, spec: Preprocessing
) -> npt.NDArray[np.float32]:
    """
    Return the graph's logits for each image of *split*: float32 `[N, classes]`.

    Raises:
        DataError: If an image cannot be read or decoded.
    """
    return np.concatenate(
        [session.run(["logits"], {graph.INPUT_NAME: pixels})[0] for pixels in split.batches(spec)]
    )


def evaluation(test: HeldOut, logits: npt.NDArray[np.float32]) -> Evaluation:
    """Return the accuracy of *logits*, measured on *test*, as a manifest states it."""
    labels = test.images.labels
    # With five classes or fewer, every answer is among the top five.
    return Evaluation(
        data=test.name,
        data_sha256=test.sha256,
        origin="measured",
        images=len(labels),
        top1=accuracy(logits, labels, top=1),
        top5=accuracy(logits, labels, top=5) if logits.shape[1] > 5 else None,
    )
