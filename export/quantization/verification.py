"""Comparison of a converted graph's answers with those of the float32 graph, on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convoy.artifact.manifest import Comparison, Precision
from convoy.export.data.held_out import HeldOut
from convoy.export.quantization.interface import Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """
    The largest differences that are accepted.

    Attributes:
        max_accuracy_loss: In percentage points of top-1 accuracy, where classes are known.
        min_agreement: Percentage of images that keep their class, where classes are not known.
    """

    max_accuracy_loss: float
    min_agreement: float


def compare(
    test: HeldOut,
    interface: Interface,
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
) -> Comparison:
    """
    Compare the scores of the float32 graph, *before*, with those of a converted one, *after*.

    Args:
        before: `[N, classes]`.
        after: `[N, classes]`, finite.
    """
    probabilities = [interface.probabilities(scores) for scores in (before, after)]
    classes = [scores.argmax(1) for scores in (before, after)]
    same = classes[0] == classes[1]
    # Of several labels for an image, all must stay.
    if interface.scores.kind == "independent":
        same = ((probabilities[0] > 0.5) == (probabilities[1] > 0.5)).all(axis=1)
    right = [
        int((found == test.images.labels).sum()) if test.is_labelled else None for found in classes
    ]
    return Comparison(
        data=test.name,
        images=len(before),
        same_class=int(same.sum()),
        largest_change=float(np.abs(probabilities[1] - probabilities[0]).max()),
        right_before=right[0],
        right=right[1],
    )


def objection(comparisons: Sequence[Comparison], bounds: Bounds) -> str:
    """Return the reason to refuse a graph with these *comparisons*; empty if there is none."""
    for found in comparisons:
        loss = found.accuracy_loss
        if loss is not None and loss > bounds.max_accuracy_loss:
            return (
                f"loses {loss:g} points of top-1 accuracy: {found.right} of {found.images} images "
                f"of {found.data} are right, {found.right_before} in float32; --max-accuracy-loss "
                f"allows {bounds.max_accuracy_loss:g}"
            )
        if loss is None and found.agreement < bounds.min_agreement:
            return (
                f"agrees with float32 on {found.same_class} of {found.images} images of "
                f"{found.data}, {found.agreement:.1f} %; --min-agreement demands "
                f"{bounds.min_agreement:g}"
            )
    return ""


def describe(comparison: Comparison, precision: Precision) -> str:
    """Describe the *comparison* of a graph in *precision* with the one in float32."""
    agreement = (
        f"the class of {comparison.same_class} of {comparison.images} images stays, and no "
        f"probability changes by more than {comparison.largest_change:.3f}"
    )
    if comparison.accuracy is None:
        return f"{comparison.data}: {agreement}"
    return (
        f"{comparison.data}: accuracy {comparison.accuracy:.4f} in {precision}, "
        f"{comparison.accuracy_before:.4f} in float32; {agreement}"
    )
