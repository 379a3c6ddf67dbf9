"""A graph's outputs, completed by tensors with scores where it has none that a server can return.

The scores of some graphs lie inside: before a ZipMap, before the ArgMax that chooses a class, or as
integers with a scale. These tensors become outputs; strings and maps, which no tensor holds, end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from convoy.export.errors import GraphError
from convoy.export.importing.heads import read_head
from convoy.export.onnx.source import Source
from convoy.export.onnx.wiring import SHAPING, Wiring, all_nodes, attribute

_INTEGERS = {TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16}

_UNKNOWN: dict[int, str] = {
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.FLOAT8E4M3FN: "float8",
    TensorProto.FLOAT8E5M2: "float8",
}
"""Types of numbers that no answer can hold, with their names."""

_SCALES = {
    "QuantizeLinear": 1,
    **dict.fromkeys(("QLinearMatMul", "QLinearConv", "QLinearAdd", "QLinearMul"), 6),
    **dict.fromkeys(("QLinearSoftmax", "QLinearSigmoid", "QLinearLeakyRelu"), 3),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearReduceMean"), 3),
    "QGemm": 7,
    "QLinearConcat": 0,
}
"""Place of the result's scale among the inputs, by operator; its zero point is the next one."""


@dataclass(slots=True)
class Outputs:
    """
    The outputs of a graph, once the tensors inside that hold scores are among them.

    Attributes:
        stand_ins: The outputs that hold the scores of others, by the names of these.
        labels: The names of the classes that the graph itself holds; None if it holds none.
        removed: The outputs that are none any more, with the reason.
        added: The outputs that were added, with the reason.
    """

    labels: tuple[str, ...] | None
    stand_ins: dict[str, str] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)

    def add_inner(self, source: Source, name: str, reason: str) -> bool:
        """Add the value *name* to the outputs of *source*; return False if it cannot be or is."""
        graph = source.model.graph
        is_inner = bool(name) and any(name in node.output for node in graph.node)
        if not is_inner or _is_output(graph, name):
            return False
        graph.output.append(ValueInfoProto(name=name))
        self.added[name] = reason
        source.is_changed = True
        return True


def complete_outputs(source: Source, wanted: str | None) -> Outputs:
    """
    Add the tensors that hold scores to the outputs of *source*, and *wanted*, if it lies inside.

    Raises:
        GraphError: If no output is left that an answer can hold.
    """
    wiring, graph = Wiring(source.model), source.model.graph
    found = Outputs(_labels(wiring))
    for output in list(graph.output):
        for name, reason in _scores_within(wiring, output, graph):
            if found.add_inner(source, name, reason) or _is_output(graph, name):
                found.stand_ins[output.name] = name
        if reason := _no_tensor(output):
            found.removed[output.name] = reason
            graph.output.remove(output)
    if wanted and wanted not in found.removed:
        found.add_inner(source, wanted, "as --output says")
    if found.removed:
        _remove_unread(graph)
        source.is_changed = True
    if not graph.output:
        removed = ", ".join(f"{name} ({reason})" for name, reason in found.removed.items())
        raise GraphError(
            f"{source.path}: the graph gives no numbers: {removed}; --output takes the name of a "
            "tensor inside that holds the scores"
        )
    return found


def _is_output(graph: onnx.GraphProto, name: str) -> bool:
    return any(output.name == name for output in graph.output)


def _no_tensor(output: ValueInfoProto) -> str:
    """Return the kind of an output that no answer can hold; empty if one can."""
    if output.type.HasField("sequence_type"):
        is_map = output.type.sequence_type.elem_type.HasField("map_type")
        return "maps" if is_map else "a list of tensors"
    if output.type.HasField("map_type"):
        return "maps"
    element = output.type.tensor_type.elem_type
    return "strings" if element == TensorProto.STRING else _UNKNOWN.get(element, "")


def _scores_within(
    wiring: Wiring, output: ValueInfoProto, graph: onnx.GraphProto
) -> Iterator[tuple[str, str]]:
    """Yield the tensors that hold the scores of *output*, which does not hold them itself."""
    node, head = wiring.maker(output.name), read_head(wiring, output.name)
    element = output.type.tensor_type.elem_type
    if node is not None and node.op_type == "ZipMap":
        yield node.input[0], f"the scores in the maps of {output.name}"
    elif node is not None and node.op_type == "SequenceConstruct":
        yield from ((name, f"one of the list {output.name}") for name in node.input)
    elif node is not None and node.op_type == "Cast" and element in _UNKNOWN:
        yield node.input[0], f"{output.name} before it becomes {_UNKNOWN[element]}"
    elif head.is_chosen:
        # A label is chosen by the index of a class, which is chosen among the scores.
        while (before := read_head(wiring, head.before)).is_chosen:
            head = before
        yield head.before, f"the scores that {head.operator} chooses among"
    elif head.is_scaled:
        yield head.value, f"the scores in {output.name} before they are scaled"
    elif element in _INTEGERS and (scale := _scale(wiring, output.name)):
        yield _dequantize(graph, output.name, scale), f"{output.name} times its scale"


def _scale(wiring: Wiring, name: str) -> tuple[str, str] | None:
    """Return the names of scale and zero point of a quantised value, if they are constants."""
    node = wiring.maker(name)
    while node is not None and node.op_type in SHAPING - {"Cast", "CastLike"}:
        node = wiring.maker(node.input[0])
    place = _SCALES.get(node.op_type) if node is not None else None
    if node is None or place is None:
        return None
    scale, zero_point = (*node.input[place : place + 2], "")[:2]
    is_known = wiring.scalar(scale) is not None and wiring.is_constant(zero_point)
    return (scale, zero_point) if is_known else None


def rounding_step(wiring: Wiring, name: str) -> float:
    """Return the distance between two values that *name* can have, if it was quantised; else 0."""
    node = wiring.maker(name)
    while node is not None and node.op_type in SHAPING:
        node = wiring.maker(node.input[0])
    if node is None or node.op_type != "DequantizeLinear":
        return 0
    return wiring.scalar(node.input[1]) or 0


def _dequantize(graph: onnx.GraphProto, name: str, scale: tuple[str, str]) -> str:
    made = unused_name(graph, f"{name}_float")
    inputs = [name, *filter(None, scale)]
    graph.node.append(helper.make_node("DequantizeLinear", inputs, [made], name=made))
    return made


def unused_name(graph: onnx.GraphProto, name: str) -> str:
    """Return *name*, or one made of it that the graph does not have."""
    known = {value.name for value in (*graph.input, *graph.output)}
    known |= {tensor.name for tensor in graph.initializer}
    known |= {made for node in all_nodes(graph) for made in node.output}
    while name in known:
        name += "_"
    return name


def _remove_unread(graph: onnx.GraphProto) -> None:
    """Remove nodes that nothing reads any more."""
    while True:
        read = {name for node in all_nodes(graph) for name in node.input}
        read |= {output.name for output in graph.output}
        unread = [node for node in graph.node if not read.intersection(node.output)]
        if not unread:
            return
        for node in unread:
            graph.node.remove(node)


def _labels(wiring: Wiring) -> tuple[str, ...] | None:
    """Return the names of the classes that the graph holds, by a ZipMap or a table of labels."""
    for node in wiring.nodes:
        names = attribute(node, "classlabels_strings") or _encoded(node) or _table(wiring, node)
        if names:
            return tuple(n.decode() if isinstance(n, bytes) else str(n) for n in names)
        # Numbers that are not just the classes' indices are names, too.
        numbers = attribute(node, "classlabels_int64s") or attribute(node, "classlabels_ints")
        if numbers and list(numbers) != list(range(len(numbers))):
            return tuple(map(str, numbers))
    return None


def _encoded(node: NodeProto) -> list[bytes]:
    """Return the labels of a LabelEncoder from indices to strings, in the order of the indices."""
    if node.op_type != "LabelEncoder":
        return []
    if classes := attribute(node, "classes_strings"):  # version 1
        return list(classes)
    keys, names = (
        attribute(node, listed) or _listed(node, tensor)
        for listed, tensor in (("keys_int64s", "keys_tensor"), ("values_strings", "values_tensor"))
    )
    is_complete = len(keys) == len(names) and sorted(keys) == list(range(len(keys)))
    return [names[list(keys).index(index)] for index in range(len(keys))] if is_complete else []


def _listed(node: NodeProto, name: str) -> list[Any]:
    """Return the elements of a tensor among the attributes of *node*, as version 4 has them."""
    tensor = attribute(node, name)
    return [] if tensor is None else list(numpy_helper.to_array(tensor).ravel().tolist())


def _table(wiring: Wiring, node: NodeProto) -> list[str]:
    """Return the constant strings that *node* looks a label up in."""
    if node.op_type not in ("Gather", "ArrayFeatureExtractor"):
        return []
    values = wiring.constant(node.input[0])
    return [] if values is None or values.dtype.kind not in "OSU" else list(values.ravel())
