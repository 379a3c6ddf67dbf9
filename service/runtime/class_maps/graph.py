"""The structure of an ONNX graph: its nodes, and the names of the values that connect them.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from convoy.artifact import wire
from convoy.artifact.wire import Span

_IR_VERSION, GRAPH, _OPSET_IMPORT = 1, 7, 8
"""Fields of a model."""

NODE, GRAPH_NAME, INITIALIZER, INPUT, OUTPUT = 1, 2, 5, 11, 12
"""Fields of a graph."""

NODE_INPUT, NODE_OUTPUT, OP_TYPE, _DOMAIN = 1, 2, 4, 7
"""Fields of a node."""

VALUE_NAME = 1
"""Field of an input or output of a graph."""

_TENSOR_NAME = 8


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """
    One operation.

    Attributes:
        operator: Name of the operator, prefixed with its domain unless it is one of ONNX's own.
        inputs: Names of the values that it reads; the name of an omitted optional input is empty.
        outputs: Names of the values that it computes.
        content: The serialized node.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    content: bytes


@dataclass(slots=True)
class Graph:
    """
    The structure of a graph.

    Attributes:
        header: Fields of the model that state the versions of ONNX and its operators.
        nodes: In an order in which they can be computed.
        initializers: The positions of the weights in the file, by name.
        outputs: Names of the outputs.
    """

    header: bytes = b""
    nodes: list[Node] = field(default_factory=list)
    initializers: dict[str, Span] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, file: BinaryIO) -> Graph:
        """
        Read the structure of a model; its weights are skipped.

        Raises:
            ValueError: If *file* is not in the wire format.
        """
        graph = cls()
        for number, value in wire.whole(file).fields():
            if number == _IR_VERSION and isinstance(value, int):
                graph.header += wire.field(number, value)
            elif number == _OPSET_IMPORT and isinstance(value, Span):
                graph.header += wire.field(number, value.read())
            elif number == GRAPH and isinstance(value, Span):
                graph._add(value)
        return graph

    def producers(self) -> dict[str, Node]:
        """Return the node that computes each value, by the name of the value."""
        return {output: node for node in self.nodes for output in node.outputs}

    def _add(self, content: Span) -> None:
        for number, value in wire.spans(content):
            if number == NODE:
                self.nodes.append(_node(value.read()))
            elif number == INITIALIZER:
                self.initializers[_name(value, _TENSOR_NAME)] = value
            elif number == OUTPUT:
                self.outputs.append(_name(value, VALUE_NAME))


def output_fields(names: Sequence[str]) -> bytes:
    """Return bytes that, appended to a serialized model, make these values outputs."""
    outputs = (wire.field(OUTPUT, wire.field(VALUE_NAME, name)) for name in names)
    return wire.field(GRAPH, b"".join(outputs))


def _node(content: bytes) -> Node:
    inputs, outputs, operator, domain = [], [], "", ""
    for number, value in wire.spans(wire.whole(io.BytesIO(content))):
        if number == NODE_INPUT:
            inputs.append(value.text())
        elif number == NODE_OUTPUT:
            outputs.append(value.text())
        elif number == OP_TYPE:
            operator = value.text()
        elif number == _DOMAIN:
            domain = value.text()
    if domain not in ("", "ai.onnx"):
        operator = f"{domain}.{operator}"
    return Node(operator, tuple(inputs), tuple(outputs), content)


def _name(message: Span, wanted: int) -> str:
    return next((value.text() for number, value in wire.spans(message) if number == wanted), "")
