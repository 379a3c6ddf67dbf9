"""The proof that an image's scores depend on that image alone, and on no chance.

Graphs that were exported in training mode fail it: batch normalisation takes its statistics from
the batch, so that images influence each other, and dropout is random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

_REPEATED = 2
"""Test images that run twice."""


def check_repeatable(run: Run, images: npt.NDArray[Any], limit: float, wiring: Wiring) -> None:
    """
    Refuse a graph that gives one image different scores in two runs.

    Args:
        limit: Largest difference between two runs, as a share of the range; none is allowed if the
            graph has random operators.

    Raises:
        ProofError: If the scores differ; names the random operators.
    """
    operators = random_operators(wiring)
    for image in images[:_REPEATED, np.newaxis]:
        first, second = run(image), run(image)
        for name, values in first.items():
            share = _share(second[name], values, values)
            if not share <= (0 if operators else limit):
                raise ProofError(_chance(name, share, wiring))


def _chance(name: str, share: float, wiring: Wiring) -> str:
    operators, training = random_operators(wiring), training_operators(wiring)
    # ONNX Runtime updates the statistics of training in place.
    kind = "changed by each run" if training and not operators else "random"
    return (
        f"the graph is {kind}: two runs give one image scores in {name} that differ by {share:.1e} "
        f"of their range{_because(operators or training)}. No option helps: {_EVAL}"
    )


def check_independent(
    run: Run,
    images: npt.NDArray[Any],
    others: npt.NDArray[Any],
    largest: int,
    limit: float,
    wiring: Wiring,
) -> None:
    """
    Refuse a graph in which the images of a batch influence each other.

    Each image runs alone, beside each other kind of neighbour, and in a batch of the largest size.

    Args:
        images: The test images: `[N, ...]`.
        others: Neighbours unlike them: `[N, ...]`.
        largest: Most images in a batch, at least 2.
        limit: Largest change of an image's scores, as a share of their range. It does not depend on
            --golden-tolerance: no tolerance makes up for a class that depends on the batch.

    Raises:
        ProofError: If an image's scores change; names the operators and the remedies.
    """
    single = [run(image[np.newaxis]) for image in images]
    alone = {name: np.concatenate([values[name] for values in single]) for name in single[0]}
    for indices, batch in _batches(images, others, largest):
        for name, values in run(batch).items():
            of_images = indices >= 0
            share = _share(values[of_images], alone[name][indices[of_images]], alone[name])
            if not share <= limit:
                helps = np.ptp(as_scores(alone[name]), axis=0).max() > limit * _span(alone[name])
                raise ProofError(_influence(len(batch), share, wiring, may_run_alone=bool(helps)))


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


def _influence(batch_size: int, share: float, wiring: Wiring, *, may_run_alone: bool) -> str:
    operators = training_operators(wiring) or batch_operators(wiring)
    # Alone, some graphs give all images the same scores.
    remedy = "either {0}, or give --max-batch-size 1, which serves one image at a time"
    return (
        f"images of a batch influence each other: at batch {batch_size} the scores of an image "
        f"change by {share:.1e} of their range with its neighbours{_because(operators)}. No "
        f"tolerance helps: {(remedy if may_run_alone else '{0}').format(_remedy(wiring))}"
    )


def _remedy(wiring: Wiring) -> str:
    # Ranges that are measured in each run: of all images together.
    if any(node.op_type == "DynamicQuantizeLinear" for node in wiring.nodes):
        return "quantise it statically"
    return _EVAL


def _because(operators: list[str]) -> str:
    if not operators:
        return ""
    others = f" and {len(operators) - 3} more" if len(operators) > 3 else ""
    return f" ({', '.join(operators[:3])}{others})"


def random_operators(wiring: Wiring) -> list[str]:
    """Return the operators of the graph whose results are random."""
    return [called(node) for node in wiring.nodes if _is_random(wiring, node)]


def _is_random(wiring: Wiring, node: NodeProto) -> bool:
    if node.op_type in RANDOM:
        return True
    # Since version 12, an input says whether dropout is in training mode.
    is_training = node.op_type == "Dropout" and len(node.input) > 2 and bool(node.input[2])
    return is_training and wiring.scalar(node.input[2]) != 0


def training_operators(wiring: Wiring) -> list[str]:
    """Return the batch normalisations that take their statistics from the batch."""
    return [f"{called(node)} in training mode" for node in wiring.nodes if _in_training(node)]


def batch_operators(wiring: Wiring) -> list[str]:
    """Return operators that work along a first dimension, which may be the batch."""
    return [called(node) for node in wiring.nodes if _works_along_batch(wiring, node)]


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
    if not node.op_type.startswith("Reduce"):
        return False
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        axes = wiring.constant(node.input[1])
    return axes is not None and 0 in list(axes)
