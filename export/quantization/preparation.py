"""
A graph made ready to be converted: newer operators, fewer nodes, names and types for all of them.

ONNX Runtime's quantiser takes a graph as it is. It converts a convolution and the batch norm after
it separately, refuses weights per channel before opset 13, leaves out values whose type it does not
know, and finds nodes by their names, which need not exist. Its kernel for products of 8 bits leaves
out the factor of a bias, and takes the scales of a weight for those of its own channels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, shape_inference, version_converter

from convoy.export.errors import GraphError
from convoy.export.onnx.scratch import scratch_folder
from convoy.export.onnx.session import one_line
from convoy.export.onnx.wiring import all_nodes

_OPSET = 13
"""The first version of the standard operators with a scale per channel."""


def prepare(path: Path) -> onnx.ModelProto:
    """
    Read the graph in *path* and return an equivalent one that can be converted.

    Raises:
        GraphError: If its operators are too old and cannot be replaced by newer ones, or ONNX
            Runtime refuses them.
        ScratchError: If the graph cannot be written to the disk.
    """
    model = onnx.load(path)
    _fix_weights(model.graph)
    model = _renewed(model)
    simple = _simplified(model)
    used = {node.domain for node in simple.graph.node}
    imports = [entry for entry in simple.opset_import if entry.domain in used]
    model.graph.CopyFrom(simple.graph)
    del model.functions[:]  # the graph has their nodes
    del model.opset_import[:]
    model.opset_import.extend(imports)
    _name_nodes(model.graph)
    _separate_weights(model.graph)
    _fold_factors(model.graph)
    return shape_inference.infer_shapes(model)


def _fix_weights(graph: onnx.GraphProto) -> None:
    """Remove the weights from the inputs of *graph*: no batch norm with such weights is folded."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


def _renewed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return *model* with operators of `_OPSET` or later."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), _OPSET)
    if opset >= _OPSET:
        return model
    try:
        return version_converter.convert_version(model, _OPSET)
    except Exception as error:  # of onnx's C++ code, without a base class
        raise GraphError(
            f"the graph has operators of opset {opset}, and 8 bits need {_OPSET}: export it again "
            f"with opset {_OPSET} or later (ONNX cannot convert it: {one_line(error)})"
        ) from error


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return *model* after ONNX Runtime's basic optimisations: batch norms folded, for example."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Basic: the result has standard operators only.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with scratch_folder() as folder:
        path = folder / "simple.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, ["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's errors share no base class
            # It does not say that the disk is full; this does.
            path.write_bytes(model.SerializeToString())
            raise GraphError(f"the graph cannot be simplified: {one_line(error)}") from error
        return onnx.load(path)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give each node of *graph* a name that no other has."""
    taken: set[str] = set()
    for node in graph.node:
        name = node.name or node.output[0]
        node.name = name if name not in taken else f"{name} ({node.output[0]})"
        taken.add(node.name)


def _separate_weights(graph: onnx.GraphProto) -> None:
    """Copy weights that some layers read transposed and others do not: their channels differ."""
    values = {tensor.name: tensor for tensor in graph.initializer}
    first: dict[str, bool] = {}
    copies: dict[str, str] = {}
    for node in graph.node:
        if node.op_type not in ("Gemm", "MatMul") or (name := node.input[1]) not in values:
            continue
        is_transposed = any(part.name == "transB" and part.i for part in node.attribute)
        if first.setdefault(name, is_transposed) == is_transposed:
            continue
        if name not in copies:
            copies[name] = f"{node.output[0]} weight"
            graph.initializer.add().CopyFrom(values[name])
            graph.initializer[-1].name = copies[name]
        node.input[1] = copies[name]


def _fold_factors(graph: onnx.GraphProto) -> None:
    """Multiply the constant bias of each Gemm by its factor, `beta`, once for each node."""
    values = {tensor.name: tensor for tensor in graph.initializer}
    replaced = set()
    for node in graph.node:
        beta = next((part for part in node.attribute if part.name == "beta" and part.f != 1), None)
        if node.op_type != "Gemm" or beta is None or len(node.input) < 3:
            continue
        # Other nodes may read the bias as it is.
        if bias := values.get(node.input[2]):
            replaced.add(bias.name)
            scaled = numpy_helper.to_array(bias) * np.float32(beta.f)
            node.input[2] = f"{node.output[0]} bias times beta"
            graph.initializer.append(numpy_helper.from_array(scaled, node.input[2]))
            node.attribute.remove(beta)
    # Subgraphs may read it, too.
    unread = replaced.difference(*(node.input for node in all_nodes(graph)))
    used = [tensor for tensor in graph.initializer if tensor.name not in unread]
    del graph.initializer[:]
    graph.initializer.extend(used)
