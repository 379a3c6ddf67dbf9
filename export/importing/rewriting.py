"""Operators that are appended to a graph, so that its scores are `[N, classes]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from convoy.export.importing.kinds import Given
from convoy.export.importing.outputs import unused_name
from convoy.export.importing.scores import Output, Rewrite
from convoy.export.onnx.source import Source
from convoy.export.onnx.wiring import all_nodes


def rewrite(source: Source, plan: Rewrite) -> tuple[str, Given]:
    """Append what *plan* needs; return the output that holds the scores now, and their kind."""
    graph = source.model.graph
    source.is_changed = True
    # Rows of a batch: under the old name, as no answer could hold the old output.
    if plan.form == "lost":
        _take_name(graph, plan.output)
        shape = _constant(graph, np.array([-1, plan.classes]))
        _append(graph, "Reshape", [f"{plan.output}_unshaped", shape], plan.output)
        return plan.output, plan.kind
    value = _append(graph, "Cast", [plan.output], to=TensorProto.FLOAT)
    if plan.kind in ("logits", "independent-logits"):
        value = _append(graph, "Sigmoid", [value])
    made = unused_name(graph, "probabilities")
    # Both classes: 1 - p and p.
    if plan.form == "single":
        column = _append(graph, "Reshape", [value, _constant(graph, np.array([-1, 1]))])
        rest = _append(graph, "Sub", [_constant(graph, np.ones(1, np.float32)), column])
        _append(graph, "Concat", [rest, column], made, axis=1)
    else:
        _append(graph, "Identity", [value], made)
    graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, None))
    return made, "probabilities" if plan.form == "single" else "independent"


def _take_name(graph: onnx.GraphProto, name: str) -> None:
    """Give the value *name* the name NAME_unshaped."""
    for node in all_nodes(graph):
        for names in (node.input, node.output):
            names[:] = [f"{name}_unshaped" if one == name else one for one in names]
    for value in graph.output:
        if value.name == name:
            value.type.tensor_type.ClearField("shape")


def _append(
    graph: onnx.GraphProto,
    operator: str,
    inputs: Sequence[str],
    output: str | None = None,
    **attributes: Any,
) -> str:
    made = output or unused_name(graph, f"convoy_{operator.lower()}")
    graph.node.append(helper.make_node(operator, inputs, [made], name=made, **attributes))
    return made


def _constant(graph: onnx.GraphProto, values: Any) -> str:
    name = unused_name(graph, "convoy_constant")
    graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def declare(source: Source, outputs: Sequence[Output]) -> None:
    """State type and shape of outputs that were added without them."""
    observed = {output.name: output for output in outputs if output.shape is not None}
    for value in source.model.graph.output:
        if value.name in observed and not value.type.HasField("tensor_type"):
            output = observed[value.name]
            element = helper.np_dtype_to_tensor_dtype(np.dtype(output.dtype))
            shape = ["N", *(None if size == -1 else size for size in output.shape or ())]
            value.CopyFrom(helper.make_tensor_value_info(value.name, element, shape))
