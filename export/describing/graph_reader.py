"""Reads an ONNX graph, with the shapes that one image gets on its way. Needs no PyTorch.

It is the only reader of operators: the layer table, and with it the multiply-accumulates of every
manifest and the parameters of imported graphs, come from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

from convoy.artifact.layers import CONVOLUTION, LINEAR, Layer, Window
from convoy.artifact.manifest import InputTensor
from convoy.export.describing.kinds import WITH_CONSTANT, pooling, shapes_arithmetic, with_weights
from convoy.export.errors import GraphError
from convoy.export.onnx.operators import MULTIPLYING, Operator, operator
from convoy.export.onnx.session import one_line, open_session
from convoy.export.onnx.source import tensors

_Shape = tuple[int, ...]

_WEIGHT_TYPES = {
    *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE),
    *(TensorProto.INT8, TensorProto.UINT8),
}
"""Types of trained numbers. Shapes, axes and indices are int64, or int32 in places."""


def read_graph(model: onnx.ModelProto, tensor: InputTensor) -> list[Layer]:
    """
    Read the operations of a graph on images, in an order in which they can run.

    Args:
        model: The graph with its weights; gets further outputs.
        tensor: Its input.

    Raises:
        GraphError: If the graph does not run.
    """
    if model.functions:  # operators that the file itself defines, as some exporters write them
        model = inline_local_functions(model)
    reader = _Reader(model.graph, tensor, _shapes(model, tensor))
    for node in _in_order(model.graph.node):
        reader.read(node)
    return reader.layers


def _shapes(model: onnx.ModelProto, tensor: InputTensor) -> dict[str, _Shape]:
    """
    Return the shape of every value of the graph for one image, the batch included.

    They come from a run that returns all values: shape inference stops at the first shape that the
    graph computes.
    """
    graph = model.graph
    known = {value.name for value in graph.output}
    values = {name for node in graph.node for name in node.output if name}
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(values - known))
    image = np.zeros((1, *tensor.item_shape), tensor.dtype)
    try:
        session = open_session(model.SerializeToString(), is_optimised=False)
        results = session.run(None, {tensor.name: image})
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise GraphError(f"running the graph failed: {one_line(error)}") from error
    names = [output.name for output in session.get_outputs()]
    return {
        tensor.name: image.shape,
        **{constant.name: tuple(constant.dims) for constant in graph.initializer},
        **{name: np.shape(result) for name, result in zip(names, results, strict=True)},
    }


def _in_order(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield the *nodes*, each after those whose values it reads; not all files have this order."""
    waiting = list(nodes)
    missing = {name for node in waiting for name in node.output}
    while waiting:
        later = []
        for node in waiting:
            if missing.isdisjoint(_names_read(node)):
                missing.difference_update(node.output)
                yield node
            else:
                later.append(node)
        waiting = later


def _names_read(node: NodeProto) -> list[str]:
    """Return the values that *node* reads; the bodies of an `If` read values by name only."""
    bodies = [body for graph in _bodies(node) for body in graph.node]
    return [*node.input, *(name for inner in bodies for name in _names_read(inner))]


def _bodies(node: NodeProto) -> list[GraphProto]:
    return [value.g for value in node.attribute if value.type == AttributeProto.GRAPH]


class _Reader:
    """Records each operation on values that depend on the image as a layer."""

    def __init__(
        self, graph: onnx.GraphProto, tensor: InputTensor, shapes: dict[str, _Shape]
    ) -> None:
        image = (tensor.channels, tensor.height, tensor.width)
        self.layers = [Layer(name=tensor.name, kind="input", inputs=(), output_shape=image)]
        self._places = {tensor.name: 0}  # of what depends on the image
        self._shapes = shapes
        self._constants = {constant.name: constant for constant in graph.initializer}
        self._origins: dict[str, tuple[str, ...]] = {}  # of what is computed from constants
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t

    def read(self, node: NodeProto) -> None:
        entry = operator(node.op_type, node.domain)
        read = [self._places[name] for name in _names_read(node) if name in self._places]
        # A constant: the sizes of an image do not depend on its pixels.
        if not read or entry.role == "shape":
            origins = dict.fromkeys(o for name in node.input for o in self._origins_of(name))
            if node.op_type != "Constant":
                self._origins.update(dict.fromkeys(node.output, tuple(origins)))
            return
        # A copy stands for the layer that it copies.
        layer = None
        if entry.role != "copy":
            layer = self._layer(node, entry, tuple(dict.fromkeys(read)))
        if layer:
            name = layer.name or layer.kind.replace(" ", "_")
            self.layers.append(replace(layer, name=name))
        place = len(self.layers) - 1 if layer else read[0]
        self._places.update(dict.fromkeys(node.output, place))

    def _layer(self, node: NodeProto, entry: Operator, inputs: tuple[int, ...]) -> Layer | None:
        """Return the layer of *node*; None if it changes nothing."""
        shape = self._output(node)[1:]
        before = self.layers[inputs[0]].output_shape
        kind = entry.kind or node.op_type.lower()
        # One input: the other operand is a constant.
        if len(inputs) == 1:
            kind = WITH_CONSTANT.get(kind, kind)
        layer = Layer(
            name=self._name(node),
            kind=kind,
            inputs=inputs,
            output_shape=shape,
            then=_activation(node),
            is_counted=entry.is_counted and all(map(_is_counted, _bodies(node))),
        )
        match entry.role:
            # Layers with weights.
            case "convolution":
                layer = self._convolution(layer, node, entry)
                kernel = self._kernel(node, entry)
                return replace(layer, window=_window(node, kernel, before, shape))
            case "transposed convolution":
                return self._transposed_convolution(layer, node, entry)
            case "matrix product":
                return self._product(layer, node, entry)
            case "packed product":
                return self._packed_product(layer, node)
            # Poolings: with a window of their own, or over a map, whose sizes give the window.
            case "window pooling":
                kernel = tuple(_attributes(node)["kernel_shape"])
                return replace(layer, window=_window(node, kernel, before, shape))
            case "largest value":
                return pooling(layer, "max pool", before)
            # A mean over channels or features is not pooling.
            case "mean" if len(before) == 3 and math.prod(shape) == before[0]:
                return pooling(layer, "avg pool", before)
            # A shortcut without weights skips pixels.
            case "slice":
                return replace(layer, window=self._every_nth(node))
        return self._with_parameters(layer, node, entry)

    def _output(self, node: NodeProto) -> _Shape:
        """Return the shape of the first output of *node*, the batch included."""
        return self._shapes[next(filter(None, node.output))]

    def _name(self, node: NodeProto) -> str:
        """Return the module whose weights *node* reads, or the node's own name; empty if none."""
        for name in node.input:
            if name in self._constants and name.endswith(".weight"):
                return name.removeprefix("network.").removesuffix(".weight")
        return "" if node.name.startswith("node_") else node.name  # by dynamo: its operator

    def _kernel(self, node: NodeProto, entry: Operator) -> _Shape:
        # The attribute first: where channels come last, the weights may have another order.
        found = _attributes(node).get("kernel_shape")
        return tuple(found or self._shapes[node.input[entry.weights]][2:])

    def _convolution(self, layer: Layer, node: NodeProto, entry: Operator) -> Layer:
        weights, kernel = self._shapes[node.input[entry.weights]], self._kernel(node, entry)
        outputs, groups = weights[0], _attributes(node).get("group", 1)
        return with_weights(
            replace(layer, kind=CONVOLUTION),
            window=kernel,
            channels=math.prod(weights[1:]) // math.prod(kernel) * groups,
            outputs=outputs,
            groups=groups,
            has_bias=_is_given(node, entry.bias),
            positions=math.prod(self._output(node)) // outputs,
        )

    def _transposed_convolution(self, layer: Layer, node: NodeProto, entry: Operator) -> Layer:
        channels, outputs, *kernel = self._shapes[node.input[entry.weights]]
        groups = _attributes(node).get("group", 1)
        return with_weights(
            layer,
            window=kernel,
            channels=channels,
            outputs=outputs * groups,
            groups=groups,
            has_bias=_is_given(node, entry.bias),
            # The kernel is applied to each pixel of the input.
            positions=math.prod(self._shapes[node.input[0]]) // channels,
        )

    def _product(self, layer: Layer, node: NodeProto, entry: Operator) -> Layer:
        name, output = node.input[entry.weights], self._output(node)
        weights = self._shapes[name]
        # A vector of weights has one axis only.
        features = weights[-1] if _attributes(node).get("transB") else weights[-2:][0]
        # Not a linear layer: the second factor depends on the image, as in attention, or is a stack
        # of matrices.
        if name in self._places or len(weights) > 2:
            layer = self._with_parameters(layer, node, entry)
            return replace(layer, macs=math.prod(output) * features)
        outputs = output[-1] if len(weights) > 1 else 1
        return with_weights(
            replace(layer, kind=LINEAR),
            window=(),
            channels=features,
            outputs=outputs,
            has_bias=_is_given(node, entry.bias),
            positions=math.prod(output) // outputs,
        )

    def _packed_product(self, layer: Layer, node: NodeProto) -> Layer:
        """Return the product with a matrix of few bits, of which attributes state the size."""
        attributes, output = _attributes(node), self._output(node)
        return with_weights(
            replace(layer, kind=LINEAR),
            window=(),
            channels=attributes["K"],
            outputs=attributes["N"],
            has_bias=_is_given(node, 5) and node.op_type == "MatMulNBits",
            positions=math.prod(output) // attributes["N"],
        )

    def _with_parameters(self, layer: Layer, node: NodeProto, entry: Operator) -> Layer:
        """Return *layer* with what else training may have fitted: single numbers are left out."""
        names = [name for name in node.input if name not in self._places][: entry.learned]
        stored = dict.fromkeys(origin for name in names for origin in self._origins_of(name))
        constants = [self._constants[name] for name in stored]
        constants += [inner for body in _bodies(node) for inner in tensors(body)]
        shapes = [tuple(c.dims) for c in constants if c.data_type in _WEIGHT_TYPES]
        shapes = [shape for shape in shapes if math.prod(shape) > 1]
        parameters, arithmetic = sum(map(math.prod, shapes)), shapes_arithmetic(shapes)
        return replace(layer, parameters=parameters, arithmetic=arithmetic)

    def _origins_of(self, name: str) -> tuple[str, ...]:
        """Return the constants of the file that the value *name* is computed from."""
        return self._origins.get(name, (name,) if name in self._constants else ())

    def _every_nth(self, node: NodeProto) -> Window | None:
        """Return the stride of `x[:, :, ::2, ::2]`; None if nothing is skipped."""
        axes, steps = (self._numbers(node, place) for place in (3, 4))
        stride_of = dict(zip((axis % 4 for axis in axes), steps, strict=False))
        stride = stride_of.get(2, 1), stride_of.get(3, 1)
        return Window((1, 1), stride) if max(stride) > 1 else None

    def _numbers(self, node: NodeProto, place: int) -> list[int]:
        """Return the constant at *place* among the inputs; empty if there is none."""
        name = node.input[place] if len(node.input) > place else ""
        tensor = self._constants.get(name)
        return [] if tensor is None else numpy_helper.to_array(tensor).tolist()


def _is_counted(body: GraphProto) -> bool:
    """Return whether nothing in the *body* of an `If` or `Loop` multiplies, as runs vary."""
    entries = [(node, operator(node.op_type, node.domain)) for node in body.node]
    return all(
        entry.is_counted and entry.role not in MULTIPLYING and all(map(_is_counted, _bodies(node)))
        for node, entry in entries
    )


def _activation(node: NodeProto) -> tuple[str, ...]:
    """Return the activation that was fused into *node*: `relu`; empty if there is none."""
    found = _attributes(node).get("activation") if node.domain else None
    return (found.decode().lower(),) if isinstance(found, bytes) and found else ()


def _is_given(node: NodeProto, place: int | None) -> bool:
    return place is not None and len(node.input) > place and bool(node.input[place])


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {value.name: helper.get_attribute_value(value) for value in node.attribute}


def _window(node: NodeProto, kernel: _Shape, before: _Shape, after: _Shape) -> Window:
    """Return the window of a convolution or pooling, with the shapes *before* and *after* it."""
    attributes, axes = _attributes(node), len(kernel)
    stride = tuple(attributes.get("strides", [1] * axes))
    dilation = tuple(attributes.get("dilations", [1] * axes))
    padding = tuple(attributes.get("pads", [0] * axes)[:axes])
    # SAME names the result instead of the padding, which follows from the sizes.
    if attributes.get("auto_pad", b"").startswith(b"SAME"):
        padding = tuple(
            max((result - 1) * s + d * (k - 1) + 1 - size, 0) // 2
            for result, size, k, s, d in zip(
                after[1:], before[1:], kernel, stride, dilation, strict=True
            )
        )
    return Window(kernel, stride, padding, dilation)
