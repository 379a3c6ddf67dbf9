"""The proof that an image's scores depend on that image alone, and on no chance.

Graphs that were exported in training mode fail it: batch normalisation takes its statistics from
the batch, so that images influence each other, and dropout is random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from convoy.artifact.golden import as_scores
from convoy.export.errors import ProofError
from convoy.export.onnx.wiring import RANDOM, Wiring, attribute, called

Run = Callable[[npt.NDArray[Any]], Mapping[str, npt.NDArray[Any]]]
"""Runs a batch of images, `[n, ...]`; returns the outputs by name, `[n, ...]` each."""

_EVAL = "export it in eval mode (PyTorch: model.eval())"

_FLOAT32_NOISE = 1e-5
"""Share of the range by which sums of float32 may differ in batches of other sizes."""

_REPEATED = 2
"""Test images that run twice."""


@dataclass(frozen=True, slots=True)
class Suspects:
    """
    The operators behind the scores that may make them depend on something else than the image.

    Attributes:
        random: Operators whose results are random.
        training: Batch normalisations that take their statistics from the batch.
        along_batch: Operators that work along a first dimension, which may be the batch.
        is_quantised: Whether ranges are measured in each run, of all images together.
    """

    random: list[str]
    training: list[str]
    along_batch: list[str]
    is_quantised: bool


def find_suspects(wiring: Wiring, outputs: Iterable[str]) -> Suspects:
    """Return the suspects among the operators that *outputs* depend on."""
    nodes = wiring.behind(outputs)
    return Suspects(
        random=[called(node) for node in nodes if _is_random(wiring, node)],
        training=[f"{called(node)} in training mode" for node in nodes if _in_training(node)],
        along_batch=[called(node) for node in nodes if _works_along_batch(wiring, node)],
        is_quantised=any(node.op_type == "DynamicQuantizeLinear" for node in nodes),
    )


def check_repeatable(run: Run, images: npt.NDArray[Any], limit: float, suspects: Suspects) -> None:
    """
    Refuse a graph that gives one image different scores in two runs, or may do so in others.

    Args:
        limit: Largest difference between two runs, as a share of the range.

    Raises:
        ProofError: If the scores differ or are random; names the operators.
    """
    # Chance may give the same scores a few times, if it leaves out a layer now and then.
    if suspects.random:
        raise ProofError(
            f"the graph is random: its scores depend on {_listed(suspects.random)}. No option "
            f"helps: {_EVAL}"
        )
    for image in images[:_REPEATED, np.newaxis]:
        first, second = run(image), run(image)
        for name, values in first.items():
            share = _share(second[name], values, values)
            if not share <= limit:
                raise ProofError(_chance(name, share, suspects))


def _chance(name: str, share: float, suspects: Suspects) -> str:
    # ONNX Runtime updates the statistics of training in place.
    kind = "changed by each run" if suspects.training else "random"
    return (
        f"the graph is {kind}: two runs give one image scores in {name} that differ by {share:.1e} "
        f"of their range{_because(suspects.training)}. No option helps: {_EVAL}"
    )


def check_independent(
    run: Run,
    images: npt.NDArray[Any],
    others: npt.NDArray[Any],
    largest: int,
    limit: float,
    suspects: Suspects,
) -> None:
    """
    Refuse a graph in which the images of a batch influence each other.

    Each image runs alone, beside each other kind of neighbour, and in a batch of the largest size.

    Args:
        images: The test images: `[N, ...]`.
        others: Neighbours unlike them: `[N, ...]`.
        largest: Maximum number of images in a batch, at least 2.
        limit: Largest change of an image's scores, as a share of their range. It does not depend on
            --golden-tolerance: no tolerance makes up for a class that depends on the batch.

    Raises:
        ProofError: If an image's scores change; names the operators and the remedies.
    """
    # Rounding excuses no operator that is known to mix images.
    limit = min(limit, _FLOAT32_NOISE) if suspects.training else limit
    single = [run(image[np.newaxis]) for image in images]
    alone = {name: np.concatenate([values[name] for values in single]) for name in single[0]}
    for indices, batch in _batches(images, others, largest):
        for name, values in run(batch).items():
            of_images = indices >= 0
            share = _share(values[of_images], alone[name][indices[of_images]], alone[name])
            if not share <= limit:
                helps = np.ptp(as_scores(alone[name]), axis=0).max() > limit * _span(alone[name])
                raise ProofError(_influence(len(batch), share, suspects, may_run_alone=bool(helps)))


def _batches(
    images: npt.NDArray[Any], others: npt.NDArray[Any], largest: int
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
    """Return batches, each with the index of the test image at every place; -1 for neighbours."""
    pairs = []
    for index, image in enumerate(images):
        other = others[index % len(others)]
        # Before its neighbour and behind it: some operators look in one direction only.
        order = slice(None, None, 1 if index % 2 else -1)
        pairs.append((np.array([index, -1])[order], np.stack([image, other])[order]))
    everything = np.concatenate([others, images[::-1]])
    places = np.concatenate([np.full(len(others), -1), np.arange(len(images))[::-1]])
    filled = np.resize(np.arange(len(everything)), largest)
    return [*pairs, (places[filled], everything[filled])]


def _share(found: npt.NDArray[Any], expected: npt.NDArray[Any], whole: npt.NDArray[Any]) -> float:
    """Return the largest difference as a share of the range of *whole*; infinite if it is none."""
    if not len(found):
        return 0
    difference = float(np.abs(as_scores(found) - as_scores(expected)).max())
    return difference / _span(whole) if np.isfinite(difference) else np.inf


def _span(scores: npt.NDArray[Any]) -> float:
    return max(float(np.ptp(as_scores(scores))), 1e-12)


def _influence(batch_size: int, share: float, suspects: Suspects, *, may_run_alone: bool) -> str:
    operators = suspects.training or suspects.along_batch
    remedy = "quantise it statically" if suspects.is_quantised else _EVAL
    # Alone, some graphs give all images the same scores.
    if may_run_alone:
        remedy = f"either {remedy}, or give --max-batch-size 1, which serves one image at a time"
    return (
        f"images of a batch influence each other: at batch {batch_size} the scores of an image "
        f"change by {share:.1e} of their range with its neighbours{_because(operators)}. No "
        f"tolerance helps: {remedy}"
    )


def _because(operators: list[str]) -> str:
    return f" ({_listed(operators)})" if operators else ""


def _listed(operators: list[str]) -> str:
    others = f" and {len(operators) - 3} more" if len(operators) > 3 else ""
    return f"{', '.join(operators[:3])}{others}"


def _is_random(wiring: Wiring, node: NodeProto) -> bool:
    if node.op_type in RANDOM:
        return True
    # Since version 12, an input says whether dropout is in training mode.
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    is_training, ratio = wiring.scalar(node.input[2]), wiring.scalar(node.input[1])
    return is_training != 0 and ratio != 0


def _in_training(node: NodeProto) -> bool:
    if node.op_type != "BatchNormalization":
        return False
    # Before version 14, a node in training mode is one that returns the statistics, too.
    return bool(attribute(node, "training_mode", 0)) or sum(map(bool, node.output)) > 1


def _works_along_batch(wiring: Wiring, node: NodeProto) -> bool:
    if node.op_type == "DynamicQuantizeLinear":
        return True
    if node.op_type == "MeanVarianceNormalization":
        return 0 in list(attribute(node, "axes", [0, 2, 3]))
    if node.op_type in ("Softmax", "LogSoftmax", "LpNormalization", "CumSum"):
        return bool(attribute(node, "axis", -1) == 0)
    # A product of all is one of sizes.
    if not node.op_type.startswith("Reduce") or node.op_type == "ReduceProd":
        return False
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        axes = wiring.constant(node.input[1])
    return axes is None or 0 in list(axes)
