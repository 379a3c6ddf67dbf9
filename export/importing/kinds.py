"""The kind of scores: decided by operators and values, or asked for where these leave it open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from convoy.artifact.golden import softmax
from convoy.export.errors import GraphError
from convoy.export.importing.heads import Head, Kind

Given = Literal["logits", "probabilities", "independent", "independent-logits"]
"""Kinds that a user may state; a sigmoid turns `independent-logits` into probabilities."""

SUM_TOLERANCE = 1e-3
"""Largest distance from 1 of the sum of one image's probabilities; float16 needs this much."""

_LARGEST_SUM = 1.5
"""Limit on the sum of probabilities that a graph's softmax has quantised: 1,000 rounded numbers."""

_ROUNDING = 0.05
"""Distance from 0 and 1 that a quantised probability may have."""

_Scores = npt.NDArray[np.float32]


def decide(scores: _Scores, head: Head) -> Kind | None:
    """
    Return the kind of scores; None if neither the operators nor the values tell.

    Args:
        scores: Scores of the test images: `[N, classes]`.

    Raises:
        GraphError: If the softmax of the graph works along a wrong axis.
    """
    # Other refusals name these.
    if not np.isfinite(scores).all():
        return head.kind or "logits"
    if head.kind == "probabilities":
        _check_axis(scores, head)
        return "probabilities" if _are_shares_or_near(scores) else None
    if head.kind == "independent" and scores.shape[1] > 1 and are_shares(scores):
        return "probabilities"  # 1 - p beside p
    if head.kind == "independent":
        return "independent" if _are_between_0_and_1(scores) else None
    # Sums that are shares of 1 in every image contradict the operators.
    if head.kind == "logits":
        return None if are_shares(scores) else "logits"
    # Values cannot tell which way round the classes are.
    if head.is_altered:
        return "probabilities" if are_shares(scores) else None
    return _by_values(scores)


def check_given(output: str, scores: _Scores, given: Given) -> None:
    """
    Check that scores can be of the kind that the user states.

    Raises:
        GraphError: If they are said to be probabilities and lie far outside of 0 to 1.
    """
    if given in ("probabilities", "independent") and not _are_between_0_and_1(scores):
        raise GraphError(
            f"--scores {given}: output {output} gives test images {scores.min():.4g} to "
            f"{scores.max():.4g}, which are not probabilities; logits go through softmax, and "
            "independent-logits through a sigmoid"
        )


def _by_values(scores: _Scores) -> Kind | None:
    if are_shares(scores):
        return "probabilities"
    # Between 0 and 1 they may be anything; with one and the same sum they may be percentages.
    return None if _are_between_0_and_1(scores) or _are_scaled(scores) else "logits"


def are_shares(scores: _Scores) -> bool:
    """Return whether the scores of every image are shares of 1."""
    sums = scores.sum(axis=1)
    return bool((np.abs(sums - 1) <= SUM_TOLERANCE).all() and (scores >= 0).all())


def _are_between_0_and_1(scores: _Scores) -> bool:
    return bool(scores.min() >= -_ROUNDING and scores.max() <= 1 + _ROUNDING)


def _are_shares_or_near(scores: _Scores) -> bool:
    return _are_between_0_and_1(scores) and bool(scores.sum(axis=1).max() <= _LARGEST_SUM)


def _check_axis(scores: _Scores, head: Head) -> None:
    if (np.abs(scores - 1) <= SUM_TOLERANCE).all():
        raise GraphError(
            f"{head.operator} works along a dimension of one element, so that every score is 1: "
            f"export the graph with a softmax over the classes, or give --output {head.before}, "
            "which holds the scores before it"
        )


def refuse_to_guess(output: str, scores: _Scores, head: Head, labels: Sequence[str] | None) -> str:
    """Return a message with the meaning of the first test image's scores, by their kind."""
    end = f"ends in {head.operator}" if head.operator else "has no operator that tells"
    meanings = "; ".join(
        f"{flag} gives {_best(probabilities, labels)}"
        for flag, probabilities in _meanings(scores[0], are_possible=_are_between_0_and_1(scores))
    )
    sums = scores.sum(axis=1)
    scaled = (
        f". They sum to {sums[0]:.4g} for every image: if they are probabilities that the graph "
        "multiplies, give --output with the tensor before that, or export it without"
    )
    return (
        f"output {output} {end}, so its scores may be of several kinds: choose one with --scores. "
        f"For the first test image, {meanings}{scaled if _are_scaled(scores) else ''}"
    )


def _are_scaled(scores: _Scores) -> bool:
    """Return whether the scores are shares of one sum, which is not 1, in every image."""
    sums = scores.sum(axis=1)
    is_same = np.ptp(sums) <= SUM_TOLERANCE * sums.max()
    return bool(scores.min() >= 0 and is_same and not are_shares(scores))


def _meanings(
    scores: npt.NDArray[np.float32], *, are_possible: bool
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield the kinds that *scores* may have; probabilities only if they *are_possible*."""
    if len(scores) == 1:
        second = sigmoid(scores)
        yield "--scores logits", np.append(1 - second, second)
        if are_possible:
            yield "--scores probabilities", np.append(1 - scores, scores)
        return
    yield "--scores logits", softmax(scores[np.newaxis])[0]
    if are_possible:
        yield "--scores probabilities (of one class per image)", scores
        yield "--scores independent (of several labels per image)", scores
    yield "--scores independent-logits", sigmoid(scores)


def _best(probabilities: npt.NDArray[Any], labels: Sequence[str] | None) -> str:
    best = np.argsort(-probabilities, kind="stable")[:3]
    names = labels or [f"class {index}" for index in range(len(probabilities))]
    return ", ".join(f"{names[index]} {probabilities[index]:.4f}" for index in best)


def sigmoid(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the independent probabilities of *logits*."""
    with np.errstate(over="ignore"):
        found: npt.NDArray[Any] = 1 / (1 + np.exp(-logits))
    return found
