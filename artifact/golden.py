"""Golden answers: the images that a version keeps, and how far its answers may drift from them.

Export, import and service prove a graph with these functions, each on its own runtime and against
its own reference, so that a graph that passes one proof does not fail the next for another formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

GOLDEN_COUNT = 4
"""Images in `golden.npz`."""

TOLERANCES: Mapping[str, float] = {"float32": 1e-4, "float16": 1e-2, "bf16": 3e-2, "int8": 3e-2}
"""
By precision: the largest drift from the reference, as a share of the range of its answers.

A manifest records its own tolerance, so a change here applies to new artifacts only.

float32: only the order of sums differs. float16: its significand of 10 bits, which TF32 has too.
bf16: its significand of 7 bits; the most that was measured is 1.1 % (the probabilities of ResNet-50
with random weights, whose logits drift by 0.3 %).
int8: fused operators round ties otherwise than the graph taken literally, and each layer passes
that on. 3e-2 is twice the most that was measured where the golden images are clearly of one class
(1.5 %, in a network of 56 layers), and less than half of the 7 % that saturating arithmetic costs.
"""

_LEAST_RANGE = 1e-12
"""Answers that are all alike have a range of 0; a drift is divided by this instead."""

Run = Callable[[npt.NDArray[Any]], Mapping[str, npt.NDArray[Any]]]
"""Runs a batch of images, `[n, ...]`; returns the outputs by name, `[n, ...]` each."""


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """
    Images with the answers that a runtime must give for them before it may serve.

    Attributes:
        images: A batch of the graph's input: `[N, ...]`.
        logits: The reference's answers in the manifest's `scores`: float32 `[N, classes]`;
            probabilities, independent or not, if the graph has no logits.
    """

    images: npt.NDArray[Any]
    logits: npt.NDArray[np.float32]


class Drift(NamedTuple):
    """
    The difference between one output of a batch and the reference.

    Attributes:
        share: The largest difference, as a share of the range of the reference's answers.
        same_classes: Whether the images that decide have the reference's most likely class.
    """

    output: str
    batch_size: int
    share: float
    same_classes: bool

    def exceeds(self, tolerance: float) -> bool:
        """Return whether the difference is too large; one that is not a number always is."""
        return not self.share <= tolerance


def replay(
    run: Run,
    images: npt.NDArray[Any],
    expected: Mapping[str, npt.NDArray[np.float32]],
    batches: Iterable[npt.NDArray[np.intp]],
    deciding: npt.NDArray[np.intp] | None = None,
) -> Iterator[Drift]:
    """
    Run *images* in *batches*, and compare every output with the reference.

    Args:
        images: `[N, ...]`, as the graph takes them.
        expected: The reference's answers by output: `[N, classes]` each.
        batches: Indices of the images of each batch.
        deciding: Indices of the images whose class must be the reference's; None for all. The
            range of their answers is the measure for the drift.
    """
    deciding = np.arange(len(images)) if deciding is None else deciding
    for batch in batches:
        outputs = run(images[batch])
        decides = np.isin(batch, deciding)
        for name, answers in expected.items():
            scores, reference = as_scores(outputs[name]), answers[batch]
            span = max(np.ptp(answers[deciding]), _LEAST_RANGE)
            same = scores.argmax(1) == reference.argmax(1)
            share = float(np.abs(scores - reference).max() / span)
            yield Drift(name, len(batch), share, bool(same[decides].all()))


def expected_answers(
    kinds: Mapping[str, str], scores: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[np.float32]]:
    """
    Return what each output must answer if the reference answers *scores*.

    Args:
        kinds: By output: `logits`, `probabilities` or `independent`.
        scores: Logits if there is an output of these, else probabilities: `[N, classes]`.
    """
    # Probabilities beside logits are their softmax; probabilities alone are the scores themselves.
    has_logits = "logits" in kinds.values()
    return {
        name: softmax(scores) if has_logits and kind == "probabilities" else scores
        for name, kind in kinds.items()
    }


def select_clearest(scores: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:
    """
    Return the indices, ascending, of the *count* images that are most clearly of one class.

    The class of other images may change on hardware that rounds otherwise.

    Args:
        scores: The reference's answers: `[N, classes]`.
    """
    ordered = np.sort(scores, axis=1)
    lead = ordered[:, -1] - ordered[:, -2]
    return np.sort(np.argsort(-lead, kind="stable")[:count])


def as_scores(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Reshape scores of any float type, `[N, classes, 1, ...]`, to float32 `[N, classes]`."""
    return values.reshape(len(values), -1).astype(np.float32, copy=False)


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the probabilities of logits `[N, classes]`, row by row."""
    exponentials: npt.NDArray[Any] = np.exp(logits - logits.max(axis=1, keepdims=True))
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials
