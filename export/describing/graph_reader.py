"""Reads an ONNX graph, with the shapes that one image gets on its way. Needs no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, numpy_helper

from convoy.artifact.layers import CONVOLUTION, LINEAR, Layer, Window
from convoy.artifact.manifest import InputTensor
from convoy.export.describing.kinds import (
    WITH_CONSTANT,
    pooling,
    shapes_arithmetic,
    weights_arithmetic,
)
from convoy.export.errors import GraphError
from convoy.export.importing.onnx_file import one_line

_Shape = tuple[int, ...]

_CONVOLUTIONS = {"Conv": (1, 2), "ConvInteger": (1, None), "QLinearConv": (3, 8)}
_PRODUCTS = {
    **{"Gemm": (1, 2), "QGemm": (3, 6)},
    **{"MatMul": (1, None), "MatMulInteger": (1, None), "QLinearMatMul": (3, None)},
}
"""Places of the weights and of the bias among the inputs."""

_LEARNED = {
    **{"BatchNormalization": 2, "InstanceNormalization": 2, "LayerNormalization": 2},
    **{"GroupNormalization": 2, "PRelu": 1},
    **dict.fromkeys(("Add", "Div", "Mul", "Sub"), 1),
}
"""How many inputs after the first training may have fitted."""

_COPIES = ("Cast", "DequantizeLinear", "DynamicQuantizeLinear", "Identity", "QuantizeLinear")
"""Operators that only write the same numbers in another way."""

_KINDS = {
    **{"AveragePool": "avg pool", "MaxPool": "max pool", "BatchNormalization": "bn"},
    **{"Reshape": "flatten", "Sum": "add", "Sub": "add", "Mul": "multiply", "Div": "multiply"},
}
"""Operators that are not called by their own name, in lower case."""


def read_graph(model: onnx.ModelProto, tensor: InputTensor) -> list[Layer]:
    """
    Read the operations of a graph on images, in an order in which they can run.

    Args:
        model: The graph with its weights; gets further outputs.
        tensor: Its input.

    Raises:
        GraphError: If the graph does not run.
    """
    reader = _Reader(model.graph, tensor, _shapes(model, tensor))
    for node in _in_order(model.graph.node):
        reader.read(node)
    return reader.layers


def _shapes(model: onnx.ModelProto, tensor: InputTensor) -> dict[str, _Shape]:
    """
    Shape of each value of the graph for one image, the batch included.

    They are those of a run that gives out every value: inference of shapes ends at the first
    shape that the graph computes.
    """
    graph = model.graph
    known = {value.name for value in graph.output}
    values = {name for node in graph.node for name in node.output if name}
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(values - known))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # errors: warnings are about the graph, not about this run
    image = np.zeros((1, *tensor.item_shape), tensor.dtype)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, ["CPUExecutionProvider"]
        )
        results = session.run(None, {tensor.name: image})
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise GraphError(f"the graph does not run: {one_line(error)}") from error
    names = [output.name for output in session.get_outputs()]
    return {
        **{constant.name: tuple(constant.dims) for constant in graph.initializer},
        **{name: np.shape(result) for name, result in zip(names, results, strict=True)},
    }


def _in_order(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The *nodes*, each after those whose values it reads: not every converter writes them so."""
    waiting = list(nodes)
    missing = {name for node in waiting for name in node.output}
    while waiting:
        later = []
        for node in waiting:
            if missing.isdisjoint(node.input):
                missing.difference_update(node.output)
                yield node
            else:
                later.append(node)
        waiting = later


class _Reader:
    """Notes each operation on what depends on the image as a layer."""

    def __init__(
        self, graph: onnx.GraphProto, tensor: InputTensor, shapes: dict[str, _Shape]
    ) -> None:
        image = (tensor.channels, tensor.height, tensor.width)
        self.layers = [Layer(name=tensor.name, kind="input", inputs=(), output_shape=image)]
        self._places = {tensor.name: 0}  # of what depends on the image
        self._shapes = shapes
        self._constants = {constant.name: constant for constant in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t

    def read(self, node: NodeProto) -> None:
        """Note *node*."""
        read = [self._places[name] for name in node.input if name in self._places]
        if not read or node.op_type in ("Shape", "Size"):
            return  # a constant, as the sizes of an image are, too
        layer = None if node.op_type in _COPIES else self._layer(node, tuple(dict.fromkeys(read)))
        if layer:
            name = layer.name or layer.kind.replace(" ", "_")
            self.layers.append(replace(layer, name=name))
        place = len(self.layers) - 1 if layer else read[0]
        self._places.update(dict.fromkeys(node.output, place))

    def _layer(self, node: NodeProto, inputs: tuple[int, ...]) -> Layer | None:
        """The layer of *node*; None if it changes nothing."""
        operator, output = node.op_type, next(filter(None, node.output))
        shape = self._shapes[output][1:]
        before = self.layers[inputs[0]].output_shape
        kind = _KINDS.get(operator, operator.lower())
        if len(inputs) == 1:
            kind = WITH_CONSTANT.get(kind, kind)
        layer = Layer(name=self._name(node), kind=kind, inputs=inputs, output_shape=shape)
        if operator in _CONVOLUTIONS:
            return self._convolution(layer, node, before)
        if operator in _PRODUCTS:
            return self._product(layer, node)
        if operator in ("AveragePool", "MaxPool"):
            kernel = tuple(_attributes(node)["kernel_shape"])
            return replace(layer, window=_window(node, kernel, before, shape))
        if operator == "GlobalMaxPool":
            return pooling(layer, "max pool", before)
        is_mean = operator in ("GlobalAveragePool", "ReduceMean")
        if is_mean and len(before) == 3 and math.prod(shape) == before[0]:
            return pooling(layer, "avg pool", before)
        if operator == "Slice":
            return replace(layer, window=self._every_nth(node))
        return self._with_parameters(layer, node)

    def _name(self, node: NodeProto) -> str:
        """The module of *node*: that of its weights, or what its exporter calls it; or nothing."""
        for name in node.input:
            if name in self._constants and name.endswith(".weight"):
                return name.removeprefix("network.").removesuffix(".weight")
        return "" if node.name.startswith("node_") else node.name  # by dynamo: its operator

    def _convolution(self, layer: Layer, node: NodeProto, before: _Shape) -> Layer:
        weight, bias = _CONVOLUTIONS[node.op_type]
        outputs, channels, *kernel = self._shapes[node.input[weight]]
        has_bias = _is_given(node, bias)
        groups = _attributes(node).get("group", 1)
        return replace(
            layer,
            kind=CONVOLUTION,
            window=_window(node, tuple(kernel), before, layer.output_shape),
            parameters=outputs * (channels * math.prod(kernel) + has_bias),
            arithmetic=weights_arithmetic(
                (*kernel, channels * groups), outputs, groups=groups, has_bias=has_bias
            ),
            macs=math.prod(layer.output_shape) * channels * math.prod(kernel),
        )

    def _product(self, layer: Layer, node: NodeProto) -> Layer:
        weight, bias = _PRODUCTS[node.op_type]
        name, has_bias = node.input[weight], _is_given(node, bias)
        outputs = layer.output_shape[-1]
        features = self._shapes[name][-1 if _attributes(node).get("transB") else -2]
        layer = replace(layer, macs=math.prod(layer.output_shape) * features)
        if name in self._places:  # of two values that depend on the image
            return layer
        return replace(
            layer,
            kind=LINEAR,
            parameters=outputs * (features + has_bias),
            arithmetic=weights_arithmetic([features], outputs, has_bias=has_bias),
        )

    def _with_parameters(self, layer: Layer, node: NodeProto) -> Layer:
        """*layer* with what else training may have fitted: single numbers are left out."""
        names = [name for name in node.input if name not in self._places]
        shapes = [self._shapes[name] for name in names[: _LEARNED.get(node.op_type, 0)] if name]
        shapes = [shape for shape in shapes if math.prod(shape) > 1]
        parameters, arithmetic = sum(map(math.prod, shapes)), shapes_arithmetic(shapes)
        return replace(layer, parameters=parameters, arithmetic=arithmetic)

    def _every_nth(self, node: NodeProto) -> Window | None:
        """The stride of `x[:, :, ::2, ::2]`."""
        axes, steps = (self._numbers(node, place) for place in (3, 4))
        stride_of = dict(zip((axis % 4 for axis in axes), steps, strict=False))
        stride = stride_of.get(2, 1), stride_of.get(3, 1)
        return Window((1, 1), stride) if max(stride) > 1 else None

    def _numbers(self, node: NodeProto, place: int) -> list[int]:
        """The constant at *place* among the inputs; empty if there is none."""
        name = node.input[place] if len(node.input) > place else ""
        tensor = self._constants.get(name)
        return [] if tensor is None else numpy_helper.to_array(tensor).tolist()


def _is_given(node: NodeProto, place: int | None) -> bool:
    return place is not None and len(node.input) > place and bool(node.input[place])


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {value.name: onnx.helper.get_attribute_value(value) for value in node.attribute}


def _window(node: NodeProto, kernel: _Shape, before: _Shape, after: _Shape) -> Window:
    """The window of a convolution or pooling with maps of shapes *before* and *after* it."""
    attributes, axes = _attributes(node), len(kernel)
    stride = tuple(attributes.get("strides", [1] * axes))
    dilation = tuple(attributes.get("dilations", [1] * axes))
    padding = tuple(attributes.get("pads", [0] * axes)[:axes])
    if attributes.get("auto_pad", b"").startswith(b"SAME"):
        padding = tuple(
            max((result - 1) * s + d * (k - 1) + 1 - size, 0) // 2
            for result, size, k, s, d in zip(
                after[1:], before[1:], kernel, stride, dilation, strict=True
            )
        )
    return Window(kernel, stride, padding, dilation)
