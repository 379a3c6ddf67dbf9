"""What an ONNX graph costs: weights, multiply-accumulates, memory. Needs no PyTorch."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
import onnxruntime
from onnx import AttributeProto, TensorProto

from convoy.artifact.manifest import Memory

_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Place of the weights, `[channels, ...]`, among the inputs."""

_PRODUCTS = ("Gemm", "QGemm", "MatMul", "MatMulInteger", "QLinearMatMul")

_WEIGHT_TYPES = {
    *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE),
    *(TensorProto.INT8, TensorProto.UINT8),
}
"""What trained numbers are kept in. Shapes, axes and indices are int64, or int32 in places."""


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All constants of *graph*: its initialisers, those in its nodes, and those of graphs there."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == AttributeProto.GRAPH:
                yield from tensors(attribute.g)


def count_weights(graph: onnx.GraphProto) -> int:
    """Numbers that training may have fitted: floats, and the bytes of quantised weights."""
    return sum(math.prod(t.dims) for t in tensors(graph) if t.data_type in _WEIGHT_TYPES)


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Size of the values of *tensor*, wherever they are kept."""
    return math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def count_graph_macs(model: Path, image: npt.NDArray[Any]) -> int:
    """
    Multiply-accumulates of convolutions and matrix products for *image*, a batch of one.

    The shapes are those of a run, as ONNX Runtime's profile tells them: inference of shapes ends
    at the first shape that the graph computes.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # The profile does not show the shape of weights that were packed for the processor.
    options.add_session_config_entry("session.disable_prepacking", "1")
    events = _profile(model, image, options)
    return sum(_node_macs(event["args"]) for event in events if "op_name" in event["args"])


def _node_macs(node: dict[str, Any]) -> int:
    """Multiply-accumulates of one node, 0 if it is no product; bias is left out."""
    name = node["op_name"]
    if name not in _CONVOLUTIONS and name not in _PRODUCTS and name != "ConvTranspose":
        return 0
    inputs, (output, *_) = _shapes(node["input_type_shape"]), _shapes(node["output_type_shape"])
    if name in _CONVOLUTIONS:
        return math.prod(output) * math.prod(inputs[_CONVOLUTIONS[name]][1:])
    if name == "ConvTranspose":
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if name in ("Gemm", "QGemm"):  # the first matrix may be transposed
        return math.prod(inputs[0]) * output[-1]
    return math.prod(output) * inputs[0][-1]


def _shapes(values: list[dict[str, list[int]]]) -> list[list[int]]:
    """Shapes of `[{"float": [1, 3, 224, 224]}, ...]`."""
    return [shape for value in values for shape in value.values()]


def measure_memory(model: Path, images: npt.NDArray[Any]) -> Memory:
    """
    Run *images* once in a throw-away session and read what its CPU allocator used.

    ONNX Runtime tells it only in the profile it writes: per node, what is in use of the arena and
    the most that ever was. What was in use before the first node is taken off: the weights, as
    far as they were not packed for the processor, which happens elsewhere.
    """
    events = _profile(model, images, onnxruntime.SessionOptions())
    nodes = [event["args"] for event in events if "mem_in_use_peak" in event["args"]]
    before = int(nodes[0]["mem_bytes_in_use"]) - int(nodes[0]["mem_in_use_delta"])
    return Memory(
        batch_size=len(images),
        weights_bytes=sum(map(tensor_bytes, tensors(onnx.load(model).graph))),
        arena_peak_bytes=max(int(node["mem_in_use_peak"]) for node in nodes) - before,
    )


def _profile(
    model: Path, images: npt.NDArray[Any], options: onnxruntime.SessionOptions
) -> list[dict[str, Any]]:
    """Events that ONNX Runtime writes down while a session is made and runs *images* once."""
    options.enable_profiling = True
    options.log_severity_level = 3  # errors: warnings are about the graph, not about this run
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: images})
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text())
    return events
