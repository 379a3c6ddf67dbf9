"""Accuracy: the share of right answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def accuracy(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], top: int) -> float:
    """
    Return the share of images whose label is among the *top* largest logits; ties by index.

    An image whose logits hold NaN or infinity has no best class, and its answer is wrong.
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    right = (best == labels[:, None]).any(axis=1) & np.isfinite(logits.max(axis=1))
    return float(right.mean())
