"""Accuracy: the share of right answers, and its record in a manifest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convoy.artifact.manifest import Evaluation
from convoy.export.data.held_out import HeldOut


def accuracy(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], top: int) -> float:
    """
    Return the share of images whose label is among the *top* largest logits; ties by index.

    An image whose logits hold NaN or infinity has no best class, and its answer is wrong.
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    right = (best == labels[:, None]).any(axis=1) & np.isfinite(logits.max(axis=1))
    return float(right.mean())


def evaluation(test: HeldOut, scores: npt.NDArray[np.float32]) -> Evaluation:
    """Return the accuracy of *scores*, measured on *test*, as a manifest states it."""
    labels = test.images.labels
    # With five classes or fewer, every answer is among the top five.
    return Evaluation(
        data=test.name,
        data_sha256=test.sha256,
        origin="measured",
        images=len(labels),
        top1=accuracy(scores, labels, top=1),
        top5=accuracy(scores, labels, top=5) if scores.shape[1] > 5 else None,
    )
