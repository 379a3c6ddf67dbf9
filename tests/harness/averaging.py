"""Tiny networks that average their last maps, in the forms in which exporters write that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

from convoy.artifact.golden import Golden
from convoy.artifact.manifest import Manifest
from tests.harness import tiny

CHANNELS = 3

_random = np.random.default_rng(7)
_CONSTANTS: dict[str, np.ndarray] = {
    "kernel": _random.normal(size=(CHANNELS, 1, 3, 3)).astype(np.float32),
    "class_kernel": _random.normal(size=(tiny.CLASSES, CHANNELS, 1, 1)).astype(np.float32),
    "weight": _random.normal(size=(CHANNELS, tiny.CLASSES)).astype(np.float32),
    "bias": _random.normal(size=tiny.CLASSES).astype(np.float32),
    "temperature": np.array(1.7, np.float32),
    "places": np.array([2, 3]),
    "places_last": np.array([1, 2]),
    "start": np.array([0]),
    "one": np.array([1]),
    "rest": np.array([-1]),
    # A range that holds the averages, and not the single places.
    "scale": np.array(0.0008, np.float32),
    "zero_point": np.array(0, np.uint8),
}

_GEMM = helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"])
_FLATTEN = helper.make_node("Flatten", ["average"], ["flat"])
_POOL = helper.make_node("GlobalAveragePool", ["maps"], ["average"])

FORMS: dict[str, list[NodeProto]] = {
    "gemm": [_POOL, _FLATTEN, _GEMM],
    "mean": [
        helper.make_node("ReduceMean", ["maps", "places"], ["average"], keepdims=0),
        helper.make_node("MatMul", ["average", "weight"], ["product"]),
        helper.make_node("Add", ["bias", "product"], ["logits"]),
    ],
    "channels last": [
        helper.make_node("Transpose", ["maps"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("ReduceMean", ["last", "places_last"], ["average"], keepdims=1),
        helper.make_node("Squeeze", ["average", "places_last"], ["flat"]),
        _GEMM,
    ],
    "window": [
        helper.make_node("AveragePool", ["maps"], ["average"], kernel_shape=[tiny.SIDE] * 2),
        _FLATTEN,
        _GEMM,
    ],
    "shape": [
        _POOL,
        helper.make_node("Shape", ["average"], ["shape"]),
        helper.make_node("Slice", ["shape", "start", "one"], ["images"]),
        helper.make_node("Concat", ["images", "rest"], ["flat_shape"], axis=0),
        helper.make_node("Reshape", ["average", "flat_shape"], ["flat"]),
        _GEMM,
    ],
    "temperature": [
        _POOL,
        _FLATTEN,
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["raw"]),
        helper.make_node("Div", ["raw", "temperature"], ["logits"]),
    ],
    "class maps": [
        helper.make_node("Conv", ["maps", "class_kernel"], ["class_maps"]),
        helper.make_node("GlobalAveragePool", ["class_maps"], ["average"]),
        helper.make_node("Flatten", ["average"], ["logits"]),
    ],
    "8 bits": [
        _POOL,
        _FLATTEN,
        helper.make_node("QuantizeLinear", ["flat", "scale", "zero_point"], ["small"]),
        helper.make_node("DequantizeLinear", ["small", "scale", "zero_point"], ["wide"]),
        helper.make_node("Gemm", ["wide", "weight", "bias"], ["logits"]),
    ],
}
"""The nodes after the last maps, `maps`, by the form in which exporters write them."""

OTHERS: dict[str, list[NodeProto]] = {
    "Relu": [
        _POOL,
        _FLATTEN,
        helper.make_node("Relu", ["flat"], ["positive"]),
        helper.make_node("Gemm", ["positive", "weight", "bias"], ["logits"]),
    ],
    "Mul": [
        _POOL,
        _FLATTEN,
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["raw"]),
        helper.make_node("Mul", ["raw", "raw"], ["logits"]),
    ],
    "MaxPool": [
        helper.make_node("MaxPool", ["maps"], ["largest"], kernel_shape=[tiny.SIDE] * 2),
        helper.make_node("Flatten", ["largest"], ["flat"]),
        _GEMM,
    ],
}
"""Heads that are not linear, by the operator that is not."""


def graph(head: list[NodeProto]) -> onnx.ModelProto:
    """Return a graph of one convolution to 3 maps of 4x4, and the nodes that follow these."""
    nodes = [
        helper.make_node("Cast", ["image"], ["wide_image"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["wide_image", "range"], ["share"]),
        helper.make_node("Transpose", ["share"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "kernel"], ["raw_maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["raw_maps"], ["maps"]),
        *head,
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    read = {name for node in nodes for name in node.input}
    constants = _CONSTANTS | {"range": np.array(255, np.float32)}
    body = helper.make_graph(
        nodes,
        "averaging",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", tiny.SIDE, tiny.SIDE, 1])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", tiny.CLASSES])
            for name in ("logits", "probabilities")
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in read],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model


def images(count: int) -> np.ndarray:
    """Return random images: uint8 `[count, 4, 4, 1]`."""
    shape = (count, tiny.SIDE, tiny.SIDE, 1)
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def logits(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    """Return the logits of images: `[N, 5]`."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(["logits"], {"image": image})[0])


def write(root: Path, name: str = "averaging", form: str = "gemm", **changes: Any) -> Manifest:
    """Write an artifact of such a network."""
    model = graph(FORMS[form])
    golden = Golden(images(4), logits(model, images(4)))
    return tiny.write(root, name, model=model, golden=golden, **changes)
