"""ONNX classifiers as other people make them, of any type, layout and outputs; their import."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from rich.console import Console

from convoy.artifact.files import Artifact
from convoy.artifact.repository import ModelRepository
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.importer import import_model

SIDE = 8
CLASSES = 5
FEATURES = 6

OutputName = Literal["logits", "probabilities", "features", "map", "box", "total"]

_SHAPES: dict[OutputName, list[str | int]] = {
    "logits": ["N", CLASSES],
    "probabilities": ["N", CLASSES],
    "features": ["N", FEATURES],
    "map": ["N", CLASSES, 1, 1],
    "box": ["N", 4],
    "total": [],
}


def classifier(
    *,
    element: int = TensorProto.FLOAT,
    layout: Literal["NCHW", "NHWC"] = "NCHW",
    batch: str | int = "N",
    sides: tuple[str | int, str | int] = (SIDE, SIDE),
    channels: str | int = 3,
    outputs: Sequence[OutputName] = ("logits",),
    bias: float = 0,
) -> onnx.ModelProto:
    """
    A convolution, a mean over the image, and a linear layer, with random weights.

    Args:
        element: Type of the input; weights are float16 if it is, and float32 otherwise.
        batch, sides, channels: Dimensions of the input: sizes, or names of open ones.
        outputs: `map` holds the logits as `[N, classes, 1, 1]`, `box` four integers, and `total`
            one number for the whole batch.
        bias: Added to the first logit.
    """
    half = element == TensorProto.FLOAT16
    weight_type = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    dims = [batch, *sides, channels] if layout == "NHWC" else [batch, channels, *sides]
    graph = helper.make_graph(
        [
            *_input_nodes(layout, weight_type),
            helper.make_node("Conv", ["planes", "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["convolved"], ["activated"]),
            helper.make_node("GlobalAveragePool", ["activated"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["features"]),
            helper.make_node("Gemm", ["features", "linear", "bias"], ["logits"], transB=1),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
            helper.make_node("Unsqueeze", ["logits", "last_axes"], ["map"]),
            helper.make_node("Gather", ["features", "first_four"], ["corners"], axis=1),
            helper.make_node("Cast", ["corners"], ["box"], to=TensorProto.INT64),
            helper.make_node("ReduceSum", ["logits"], ["total"], keepdims=0),
        ],
        "foreign",
        [helper.make_tensor_value_info("pixels", element, dims)],
        [_output(name, batch, weight_type) for name in outputs],
        _weights(1 if channels == 1 else 3, np.float16 if half else np.float32, bias),
    )
    return model(graph)


def ending(
    nodes: Sequence[NodeProto],
    outputs: Mapping[str, int | onnx.TypeProto],
    constants: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> onnx.ModelProto:
    """
    The classifier of *arguments* with another end.

    Args:
        nodes: What follows the value `logits`.
        outputs: Type of the elements, or of the whole, by name.
    """
    made = classifier(**arguments)
    made.graph.node.extend(nodes)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    del made.graph.output[:]
    for name, element in outputs.items():
        value = (
            helper.make_tensor_value_info(name, element, None)
            if isinstance(element, int)
            else (helper.make_value_info(name, element))
        )
        made.graph.output.append(value)
    made.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in (constants or {}).items()
    )
    return made


def model(graph: onnx.GraphProto) -> onnx.ModelProto:
    """A model of *graph*, checked."""
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="elsewhere"
    )
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made


def save(made: onnx.ModelProto, path: Path) -> Path:
    """Write *made* to *path*."""
    onnx.save(made, path)
    return path


def _input_nodes(layout: str, weight_type: int) -> list[NodeProto]:
    order = [0, 3, 1, 2] if layout == "NHWC" else [0, 1, 2, 3]
    return [
        helper.make_node("Cast", ["pixels"], ["numbers"], to=weight_type),
        helper.make_node("Transpose", ["numbers"], ["planes"], perm=order),
    ]


def _output(name: OutputName, batch: str | int, weight_type: int) -> ValueInfoProto:
    shape = [batch if size == "N" else size for size in _SHAPES[name]]
    return helper.make_tensor_value_info(
        name, TensorProto.INT64 if name == "box" else weight_type, shape
    )


def _weights(channels: int, dtype: type[np.floating], bias: float) -> list[TensorProto]:
    random = np.random.default_rng(1)
    values = {
        "kernel": random.normal(0, 0.5, (FEATURES, channels, 3, 3)).astype(dtype),
        "linear": random.normal(0, 2, (CLASSES, FEATURES)).astype(dtype),
        "bias": np.array([bias, 0, 0, 0, 0], dtype),
        "last_axes": np.array([2, 3]),
        "first_four": np.arange(4),
    }
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def run(file: Path, root: Path, **changes: Any) -> tuple[Artifact, str]:
    """Import *file* as `foreign`; return the artifact and the printed text."""
    output = io.StringIO()
    usual: dict[str, Any] = {"file": file, "model_repository": root, "name": "foreign"}
    location = import_model(ImportSettings(**(usual | changes)), Console(file=output, width=500))
    return ModelRepository(root).read("foreign", int(Path(location).name)), output.getvalue()


def made(tmp_path: Path, **arguments: Any) -> Path:
    """A file with a `classifier` of these *arguments*."""
    return save(classifier(**arguments), tmp_path / "Foreign Net (v2).onnx")


def labels(folder: Path, text: str = "a\nb\nc\nd\ne\n\n", name: str = "labels.txt") -> Path:
    """A file of labels."""
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name
