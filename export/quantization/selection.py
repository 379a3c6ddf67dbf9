"""The nodes of a prepared graph that are converted to 8 bits, and those that are not."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx

from convoy.export.onnx.wiring import SHAPING, Wiring

_LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators that hold nearly all weights and work: the layers."""

PASSING = ("Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool")
"""Operators with one input, between a layer and the next or a place where branches meet."""

JOINING = ("Add", "Mul", "Concat")

OPERATORS = (*_LAYERS, *PASSING, *JOINING)
"""
Operators that ONNX Runtime computes in 8 bits between one layer and the next. All others, such as
global pooling and softmax at the network's end, stay in float32: they are little work, and their
precision matters.
"""

_TAIL = {*SHAPING, "Softmax", "LogSoftmax", "Sigmoid", "Mul", "Div", "Slice", "Gather"}
"""Operators between the last layer and the scores."""


def find_layers(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that can be converted and have weights, in order."""
    excluded = find_excluded(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _LAYERS and node.name not in excluded and weights & {*node.input}
    ]


def with_neighbours(wiring: Wiring, layer: str, operators: Collection[str]) -> set[str]:
    """Return the name of *layer* and of those of *operators* that read from it or feed it."""
    (node,) = (node for node in wiring.nodes if node.name == layer)
    found = {layer}
    waiting = [node]
    while waiting:
        for reader in wiring.readers(waiting.pop().output[0]):
            found |= {reader.name} if reader.op_type in operators else set()
            # Behind an operator that joins branches, other layers decide.
            waiting += [reader] if reader.op_type in PASSING else []
    maker = wiring.maker(node.input[0])
    while maker is not None and maker.op_type in operators:
        found.add(maker.name)
        maker = wiring.maker(maker.input[0]) if maker.op_type in PASSING else None
    return found


def find_excluded(model: onnx.ModelProto) -> set[str]:
    """Return the names of the nodes whose operators are converted elsewhere, but not here."""
    return {*_before_layers(model.graph), *_after_layers(model), *_unsuitable(model.graph)}


def _before_layers(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the nodes of the normalisation: those before the first layer."""
    for node in graph.node:
        if node.op_type in _LAYERS:
            return
        yield node.name


def _after_layers(model: onnx.ModelProto) -> Iterator[str]:
    """Yield the nodes whose results are the scores, but for shape, scale and softmax."""
    wiring = Wiring(model)
    waiting = [output.name for output in model.graph.output]
    while waiting:
        node = wiring.maker(waiting.pop())
        if node is None:
            continue
        if node.op_type in _TAIL:
            waiting += [name for name in node.input if not wiring.is_constant(name)]
            yield node.name
        # The result of these is not rounded anyway.
        elif node.op_type not in ("Gemm", "MatMul"):
            yield node.name


def _unsuitable(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the nodes for which 8 bits are too coarse, or of no use."""
    weights = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        has_weights = bool(weights & {*node.input})
        # The steps of a normalisation or of an activation function.
        if node.op_type in ("Add", "Mul") and has_weights:
            yield node.name
        # Products of two activations, as in attention.
        if node.op_type == "MatMul" and not has_weights:
            yield node.name
