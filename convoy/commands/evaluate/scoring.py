"""Scores of answers to labelled images: shares, classes, calibration, a test of two models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from convoy.artifact.estimates import wilson
from convoy.artifact.evaluation import Bin, ClassScore, Measured

BINS = 15
"""Bins of equal width of the reliability curve (Guo et al., arXiv:1706.04599, section 2)."""

Indices = npt.NDArray[np.int64]


def right_answers(best: Indices, truth: Indices, top: int) -> npt.NDArray[np.bool_]:
    """Return for each image whether its class is among the *top* first of *best*: `[N]`."""
    found: npt.NDArray[np.bool_] = (best[:, :top] == truth[:, None]).any(axis=1)
    return found


def measured(right: npt.NDArray[np.bool_]) -> Measured:
    """Return the share of right answers, at least one, with its interval."""
    count, total = int(right.sum()), len(right)
    low, high = wilson(count, total)
    return Measured(count=count, share=count / total, low=max(0.0, low), high=min(1.0, high))


def confusion(best: Indices, truth: Indices, classes: int) -> Indices:
    """Return the number of images by true and given class: `[classes, classes + 1]`."""
    # The last column: answers that are no class, as the scores were no numbers.
    given = np.where(best[:, 0] < 0, classes, best[:, 0])
    counts = np.bincount(truth * (classes + 1) + given, minlength=classes * (classes + 1))
    return counts.reshape(classes, classes + 1)


def class_scores(table: Indices, labels: Sequence[str]) -> list[ClassScore]:
    """Return the scores of each class by the *table* that `confusion` made."""
    right, images, given = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    return [
        ClassScore(
            label=label,
            images=int(images[index]),
            precision=int(right[index]) / int(given[index]) if given[index] else None,
            recall=int(right[index]) / int(images[index]) if images[index] else None,
            # Twice the right ones among both: 0 if a class is never given, as recall is 0 then.
            f1=2 * int(right[index]) / int(images[index] + given[index]) if images[index] else None,
        )
        for index, label in enumerate(labels)
    ]


def reliability(
    confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]
) -> tuple[float, list[Bin]]:
    """Return the expected calibration error, and the bins with images, by rising confidence."""
    # A confidence on a border belongs to the bin below it: (0, 1/15], (1/15, 2/15], ...
    numbers = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bins = [
        Bin(
            images=int(inside.sum()),
            confidence=float(confidence[inside].mean()),
            accuracy=float(right[inside].mean()),
        )
        for number in range(BINS)
        if (inside := numbers == number).any()
    ]
    errors = (one.images * abs(one.confidence - one.accuracy) for one in bins)
    return math.fsum(errors) / len(right), bins


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> tuple[int, int, float]:
    """
    Compare two models on the same images by McNemar's exact test.

    Returns:
        The number of images that only the first, and that only the second is right about; and the
        probability of a difference at least as large if both were equally good.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    total, fewer = only_first + only_second, min(only_first, only_second)
    # Two sides of a binomial distribution of chance 1/2, in logarithms as its terms may be tiny.
    terms = (
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        for k in range(fewer + 1)
    )
    tail = math.fsum(math.exp(term - total * math.log(2)) for term in terms)
    return only_first, only_second, min(1.0, 2 * tail)
