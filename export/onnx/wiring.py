"""The wiring of an ONNX graph: the node that makes each value, its readers, and the constants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

SHAPING = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "CastLike"}
)
"""Operators that pass the numbers of their first input on, in another shape or type."""


RANDOM = frozenset(
    {
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        *("Multinomial", "Bernoulli"),
    }
)
"""Operators whose result is another one in each run."""


class Wiring:
    """
    The values of a graph, those inside of conditions and loops included.

    Attributes:
        nodes: All nodes; functions that the file defines are replaced by their nodes.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        if model.functions:
            model = inline_local_functions(model)
        self.nodes: list[NodeProto] = list(all_nodes(model.graph))
        self._tensors: dict[str, TensorProto] = {t.name: t for t in _initializers(model.graph)}
        self._maker = {name: node for node in self.nodes for name in node.output if name}
        self._readers: defaultdict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self._readers[name].append(node)
        self._varying = self._reached(_inputs(model.graph))

    def maker(self, name: str) -> NodeProto | None:
        """Return the node that makes *name*; None of inputs and weights."""
        return self._maker.get(name)

    def readers(self, name: str) -> list[NodeProto]:
        """Return the nodes that read *name*."""
        return self._readers[name]

    def behind(self, names: Iterable[str]) -> list[NodeProto]:
        """Return the nodes whose results decide the values *names*, in the order of the graph."""
        waiting, found = [*names], set()
        while waiting:
            node = self._maker.get(waiting.pop())
            if node is None or id(node) in found:
                continue
            found.add(id(node))
            # A shape does not depend on the numbers.
            waiting += [] if node.op_type in ("Shape", "Size") else node.input
            for inner in branches(node):
                for part in all_nodes(inner):
                    waiting += [*part.input, *part.output]
        return [node for node in self.nodes if id(node) in found]

    def is_constant(self, name: str) -> bool:
        """Return whether *name* depends neither on the graph's inputs nor on chance."""
        return name not in self._varying

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """Return the numbers of a weight or constant; their shape may be another one."""
        if tensor := self._tensors.get(name):
            return numpy_helper.to_array(tensor)
        node = self._maker.get(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            return _constant(node)
        return self.constant(node.input[0]) if node.op_type in SHAPING else None

    def scalar(self, name: str) -> float | None:
        """Return the one number that a constant holds; None if it holds others."""
        values = self.constant(name)
        if values is None or values.dtype.kind not in "bfiu" or not values.size:
            return None
        first = float(values.flat[0])
        return first if (values == values.flat[0]).all() else None

    def _reached(self, names: Iterable[str]) -> set[str]:
        """Return *names* and all values that depend on them, on chance, or on a condition."""
        waiting = [*names]
        for node in self.nodes:
            if branches(node) or node.op_type in RANDOM:
                waiting += node.output
        found: set[str] = set()
        while waiting:
            if (name := waiting.pop()) not in found:
                found.add(name)
                waiting += (output for node in self._readers[name] for output in node.output)
        return found


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return the value of an attribute of *node*, or *default*."""
    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default


def branches(node: NodeProto) -> list[GraphProto]:
    """Return the graphs inside of *node*: of a condition or a loop."""
    single = [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]
    return single + [g for a in node.attribute if a.type == AttributeProto.GRAPHS for g in a.graphs]


def called(node: NodeProto) -> str:
    """Return the operator of *node* and the name by which a user finds it."""
    return f"{node.op_type} {node.name or next(filter(None, node.output), '')!s}".strip()


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes of *graph* and of the graphs inside of them."""
    for node in graph.node:
        yield node
        for inner in branches(node):
            yield from all_nodes(inner)


def _inputs(graph: GraphProto) -> Iterator[str]:
    """Yield the names of all inputs that are not weights, and of those of graphs inside."""
    weights = {tensor.name for tensor in graph.initializer}
    yield from (value.name for value in graph.input if value.name not in weights)
    for node in graph.node:
        for inner in branches(node):
            yield from _inputs(inner)


def _initializers(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for inner in branches(node):
            yield from _initializers(inner)


def _constant(node: NodeProto) -> npt.NDArray[Any] | None:
    if (tensor := attribute(node, "value")) is not None:
        return numpy_helper.to_array(tensor)
    for name in ("value_float", "value_int", "value_floats", "value_ints"):
        if (value := attribute(node, name)) is not None:
            return np.asarray(value)
    return None
