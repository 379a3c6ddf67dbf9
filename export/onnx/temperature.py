"""The temperature of a classifier: fitted to answers, and folded into a graph. Needs no PyTorch.

Softmax of logits that are divided by one number keeps the order of the classes and changes how sure
it is of them (Guo et al., arXiv:1706.04599, section 4.2).
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from convoy.artifact.golden import softmax
from convoy.artifact.manifest import Manifest
from convoy.export.errors import GraphError

_SMALLEST, _LARGEST = 0.02, 50.0
"""Temperatures beyond these would be a fit to too few images."""

_HALVINGS = 60

_RESHAPING = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Operators between a softmax and the output that change no value."""

Scores = npt.NDArray[np.float64]


def fit_temperature(logits: Scores, truth: npt.NDArray[np.int64]) -> float | None:
    """
    Return the temperature with the lowest mean cross-entropy; None if it is beyond all bounds.

    Args:
        logits: `[N, classes]`, finite.
        truth: Class of each image: `[N]`.
    """
    true = np.take_along_axis(logits, truth[:, None], axis=1)[:, 0]

    def slope(inverse: float) -> float:
        """Return the derivative of the cross-entropy by the inverse temperature; it only rises."""
        return float(((softmax(logits * inverse) * logits).sum(axis=1) - true).mean())

    low, high = 1 / _LARGEST, 1 / _SMALLEST
    # All answers right: ever surer is ever better. Worse than chance: ever less sure is.
    if (true >= logits.max(axis=1)).all() or slope(high) < 0 or slope(low) > 0:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


def cross_entropy(logits: Scores, truth: npt.NDArray[np.int64], temperature: float) -> float:
    """Return the mean cross-entropy of the softmax of *logits* / *temperature*."""
    scaled = logits / temperature
    largest = scaled.max(axis=1)
    logs = largest + np.log(np.exp(scaled - largest[:, None]).sum(axis=1))
    return float((logs - np.take_along_axis(scaled, truth[:, None], axis=1)[:, 0]).mean())


def as_logits(scores: Scores, kind: str) -> Scores:
    """Return logits whose softmax the *scores* are, or the scores if they are logits already."""
    return scores if kind == "logits" else np.log(np.maximum(scores, np.finfo(np.float32).tiny))


def fold_temperature(source: Path, target: Path, manifest: Manifest, temperature: float) -> None:
    """
    Write the graph of *source* to *target* with its logits divided by *temperature*.

    Raises:
        GraphError: If the graph has probabilities that no softmax makes, or is not valid with the
            temperature.
    """
    model = onnx.load(source)
    # Probabilities are made of the logits that are an output, or of a softmax's input.
    if manifest.scores.kind == "logits":
        name = manifest.scores.name
        raw = _rename_result(model.graph, name)
        _divide(model.graph, raw, name, temperature, manifest.scores.dtype)
    else:
        softmax_node = _softmax(model.graph, manifest.scores.name)
        name = softmax_node.input[0]
        softmax_node.input[0] = _unused_name(model.graph, f"{name}_calibrated")
        _divide(model.graph, name, softmax_node.input[0], temperature, manifest.scores.dtype)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (ValidationError, InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise GraphError(f"the graph is not valid with the temperature: {reason}") from error
    onnx.save(model, target)


def _rename_result(graph: onnx.GraphProto, name: str) -> str:
    """Give the value *name* another name where it is made, and return that."""
    raw = _unused_name(graph, f"{name}_before_temperature")
    for node in graph.node:
        for index, output in enumerate(node.output):
            if output == name:
                node.output[index] = raw
                return raw
    raise GraphError(f"no node makes the output {name}")


def _softmax(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    """Return the softmax that makes the output *name*."""
    makers = {output: node for node in graph.node for output in node.output}
    output = name
    while (node := makers.get(output)) is not None and node.op_type in _RESHAPING:
        output = node.input[0]
    if node is None or node.op_type != "Softmax":
        raise GraphError(
            f"the probabilities of {name} come from {node.op_type if node else 'no node'}, not "
            "from a softmax, and the graph has no logits: its temperature cannot be changed"
        )
    return node


def _divide(
    graph: onnx.GraphProto, value: str, result: str, temperature: float, dtype: str
) -> None:
    """Add a node that divides *value* by *temperature*, after the one that makes it."""
    constant = _unused_name(graph, f"{result}_temperature")
    graph.initializer.append(numpy_helper.from_array(np.array(temperature, dtype), constant))
    after = next(index for index, node in enumerate(graph.node) if value in node.output)
    node = helper.make_node("Div", [value, constant], [result], name=constant)
    graph.node.insert(after + 1, node)


def _unused_name(graph: onnx.GraphProto, name: str) -> str:
    """Return *name*, with a number if the graph uses it, as one that was calibrated does."""
    used = {value.name for value in (*graph.input, *graph.output)}
    used |= {constant.name for constant in graph.initializer}
    used.update(*((node.name, *node.input, *node.output) for node in graph.node))
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in used)
