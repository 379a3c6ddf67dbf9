"""Accuracy: the share of right answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def accuracy(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], top: int) -> float:
    """Return the share of images whose label is among the *top* largest logits."""
    best = np.argsort(-logits, axis=1)[:, :top]
    return float((best == labels[:, None]).any(axis=1).mean())
