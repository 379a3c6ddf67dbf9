"""The head of a network that averages its last maps: all that follows the average.

If the head is linear, the average can be taken last: applied to each place of the maps it gives
each place's share in the scores (Zhou et al., arXiv:1512.04150, section 2). Its weights need not be
understood for that: it is cut out of the graph, and run.
"""

from __future__ import annotations

from dataclasses import dataclass

from convoy.artifact import wire
from convoy.service.runtime.class_maps.graph import (
    GRAPH,
    GRAPH_NAME,
    INITIALIZER,
    INPUT,
    NODE,
    NODE_INPUT,
    NODE_OUTPUT,
    OP_TYPE,
    VALUE_NAME,
    Graph,
    Node,
    output_fields,
)

_AVERAGES = ("GlobalAveragePool", "AveragePool", "ReduceMean")

_ACTIVATIONS = ("Softmax", "LogSoftmax", "Sigmoid")
"""Operators that turn the scores of the classes into probabilities."""

_SHAPING = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")

_QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
"""Operators that round, to a range that holds the averages and not the single places."""

_LINEAR_IN_FIRST = (
    *_SHAPING,
    *_QUANTIZING,
    "BatchNormalization",
    "Cast",
    "Conv",
    "Div",
    "Dropout",
    "Gather",
    "Slice",
)
"""Operators that are linear in their first input, if all others are constants."""

_LINEAR_IN_ANY = ("Add", "Gemm", "MatMul", "Mul", "Sub")
"""Operators that are linear in any one input, likewise."""

_SHAPES = ("Shape", "Size")
"""Operators whose outputs do not depend on the values that they read."""

_CONTROL = ("If", "Loop", "Scan")
"""Operators that read values which are not among their inputs."""

_ELEMENT_TYPES = {"float32": 1, "float16": 10, "float64": 11}


class NoHeadError(Exception):
    """The graph does not end in an average and linear layers; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Head:
    """
    The end of a graph.

    Attributes:
        maps: Name of the last maps.
        average: Name of their average.
        scores: Name of the scores: logits, if the graph makes probabilities of them.
        nodes: The nodes from the average to the scores, and those of the constants they read;
            none if the average is the scores.
        rounding: Places of those that only round.
    """

    maps: str
    average: str
    scores: str
    nodes: tuple[Node, ...]
    rounding: frozenset[int]

    def model(self, graph: Graph, dtype: str) -> bytes:
        """
        Return the head as a model of its own, serialized, from the average to the scores.

        Args:
            graph: The graph that it was found in.
            dtype: Type of the average.
        """
        read = {name for node in self.nodes for name in node.inputs}
        weights = (tensor for name, tensor in graph.initializers.items() if name in read)
        contents = (
            _identity(node) if place in self.rounding else node.content
            for place, node in enumerate(self.nodes)
        )
        body = (
            wire.field(GRAPH_NAME, "head"),
            *(wire.field(NODE, content) for content in contents),
            *(wire.field(INITIALIZER, tensor.read()) for tensor in weights),
            wire.field(INPUT, _value(self.average, dtype)),
        )
        return graph.header + wire.field(GRAPH, b"".join(body)) + output_fields([self.scores])


def find_head(graph: Graph, image: str, output: str, kind: str) -> Head:
    """
    Find the head of the scores that the output *output* holds.

    Args:
        image: Name of the graph's input.
        kind: `logits`, if the output holds no probabilities.

    Raises:
        NoHeadError: If there is none.
    """
    makers, varying = graph.makers(), _varying(graph, image)
    scores = output
    if kind != "logits":
        scores = _before_activation(makers, output)
    path: set[Node] = set()
    name = scores
    while (node := makers.get(name)) is not None and node.operator not in _AVERAGES:
        path.add(node)
        name = _linear_input(node, varying)
    if node is None:
        raise NoHeadError("its scores are computed from the image without an average of maps")
    nodes = _between(graph, makers, name, scores)
    rounding = {
        place for place, one in enumerate(nodes) if one in path and one.operator in _QUANTIZING
    }
    return Head(node.inputs[0], name, scores, nodes, frozenset(rounding))


def _varying(graph: Graph, image: str) -> set[str]:
    """Return the names of all values that depend on the image."""
    varying = {image}
    for node in graph.nodes:
        depends = node.operator in _CONTROL or not varying.isdisjoint(node.inputs)
        if depends and node.operator not in _SHAPES:
            varying.update(node.outputs)
    return varying


def _before_activation(makers: dict[str, Node], output: str) -> str:
    """Return the name of the scores that the probabilities *output* are made of."""
    name = output
    while (node := makers.get(name)) is not None and node.operator in (*_SHAPING, "Cast"):
        name = node.inputs[0]
    if node is None or node.operator not in _ACTIVATIONS:
        made = node.operator if node else "the image itself"
        raise NoHeadError(f"its probabilities come from {made}, not from a softmax or a sigmoid")
    return node.inputs[0]


def _linear_input(node: Node, varying: set[str]) -> str:
    """Return the one input on which a linear node depends."""
    depends = [name for name in node.inputs if name in varying]
    if len(depends) != 1 or not (
        node.operator in _LINEAR_IN_ANY
        or (node.operator in _LINEAR_IN_FIRST and depends[0] == node.inputs[0])
    ):
        raise NoHeadError(
            f"between the last average of maps, if there is one, and its scores lies "
            f"{node.operator}, which is not linear"
        )
    return depends[0]


def _between(graph: Graph, makers: dict[str, Node], start: str, end: str) -> tuple[Node, ...]:
    """Return the nodes that *end* needs beside the value *start*, in their order."""
    needed: set[Node] = set()
    waiting = [end]
    while waiting:
        name = waiting.pop()
        if not name or name == start or name in graph.initializers:
            continue
        node = makers.get(name)
        if node is None:
            raise NoHeadError("the shapes behind its last average depend on those of the image")
        if node not in needed:
            needed.add(node)
            waiting += node.inputs
    return tuple(node for node in graph.nodes if node in needed)


def _identity(node: Node) -> bytes:
    return (
        wire.field(NODE_INPUT, node.inputs[0])
        + wire.field(NODE_OUTPUT, node.outputs[0])
        + wire.field(OP_TYPE, "Identity")
    )


def _value(name: str, dtype: str) -> bytes:
    """Return the description of an input: its name, and a type of unknown shape."""
    if dtype not in _ELEMENT_TYPES:
        raise NoHeadError(f"its last average is of {dtype}, not of floats")
    tensor_type = wire.field(1, wire.field(1, _ELEMENT_TYPES[dtype]))
    return wire.field(VALUE_NAME, name) + wire.field(2, tensor_type)
