"""The head of a network that averages its last feature maps: everything after the average.

If the head is linear, the average can be taken last: applied to each position of the maps, the head
gives the contribution of that position to the scores (Zhou et al., arXiv:1512.04150, section 2).
The head is cut out of the graph and run, so its weights need no interpretation.
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
"""Operators that round to a range that fits the averages, but not the single positions."""

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
"""Operators that are linear in their first input if all others are constant."""

_LINEAR_IN_ANY = ("Add", "Gemm", "MatMul", "Mul", "Sub")
"""Operators that are linear in any one input if all others are constant."""

_SHAPES = ("Shape", "Size")
"""Operators whose outputs depend only on the shapes of their inputs."""

_CONTROL = ("If", "Loop", "Scan")
"""Operators that may read values that are not among their inputs."""

_ELEMENT_TYPES = {"float32": 1, "float16": 10, "float64": 11}
"""Values of `TensorProto.DataType`, by NumPy dtype."""


class NoHeadError(Exception):
    """The graph does not end in an average and linear layers; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Head:
    """
    The end of a graph.

    Attributes:
        maps: Name of the last feature maps.
        average: Name of their average.
        scores: Name of the scores; logits if the graph turns them into probabilities.
        nodes: The nodes from the average to the scores, and those that compute the constants
            they read; empty if the average is itself the scores.
        rounding: Indices into `nodes` of those that only round.
    """

    maps: str
    average: str
    scores: str
    nodes: tuple[Node, ...]
    rounding: frozenset[int]

    def model(self, graph: Graph, dtype: str) -> bytes:
        """
        Return the head as a serialized model of its own, from the average to the scores.

        Args:
            graph: The graph that it was found in.
            dtype: NumPy dtype of the average.

        Raises:
            NoHeadError: If the average is not of floats.
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
    Find the head that computes the scores in *output*.

    Args:
        image: Name of the graph's input.
        output: Name of the output that holds logits or probabilities.
        kind: `logits`; any other kind is one of probabilities.

    Raises:
        NoHeadError: If the scores are not a linear function of an average of feature maps.
    """
    producers, varying = graph.producers(), _varying(graph, image)
    scores = output
    if kind != "logits":
        scores = _before_activation(producers, output)
    path: set[Node] = set()
    name = scores
    while (node := producers.get(name)) is not None and node.operator not in _AVERAGES:
        path.add(node)
        name = _linear_input(node, varying)
    if node is None:
        raise NoHeadError(
            "its scores are computed from the image without an average of feature maps"
        )
    nodes = _between(graph, producers, name, scores)
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


def _before_activation(producers: dict[str, Node], output: str) -> str:
    """Return the name of the scores from which the probabilities *output* are computed."""
    name = output
    while (node := producers.get(name)) is not None and node.operator in (*_SHAPING, "Cast"):
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
            f"no average of feature maps lies between {node.operator}, which is not linear, "
            "and its scores"
        )
    return depends[0]


def _between(graph: Graph, producers: dict[str, Node], start: str, end: str) -> tuple[Node, ...]:
    """Return the nodes that compute *end* from the value *start*, in the order of the graph."""
    needed: set[Node] = set()
    waiting = [end]
    while waiting:
        name = waiting.pop()
        if not name or name == start or name in graph.initializers:
            continue
        node = producers.get(name)
        if node is None:
            raise NoHeadError("the shapes after its last average depend on those of the image")
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
        raise NoHeadError(f"its last average has the type {dtype}, which is not floating-point")
    tensor_type = wire.field(1, wire.field(1, _ELEMENT_TYPES[dtype]))
    return wire.field(VALUE_NAME, name) + wire.field(2, tensor_type)
