"""Conversion of a float32 graph to half precision or 8 bits, and the accuracy that this costs.

The graphs are those that `convoy.export.onnx.graph` writes: uint8 images, normalisation, network,
softmax. Input and outputs keep their names, shapes and types, so that no client sees a difference.
PyTorch is not needed.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import QDQQuantizer, QuantType, TensorsData, create_calibrator
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from convoy.export.errors import PrecisionError

ReducedPrecision = Literal["float16", "int8"]

CALIBRATION_COUNT = 256
"""
Images to convert with. Measured on trained networks: with 16, int8 logits are up to 5 % of their
range off; with 256, 0.4 %; 1,000 are no better.
"""

_CALIBRATION_BATCH_SIZE = 8
"""Limits the memory; the ranges do not depend on it."""

_FLOAT32_OPERATORS = [*DEFAULT_OP_BLOCK_LIST, "LRN"]
"""
Operators that stay in float32: those that ONNX Runtime's converter leaves out, and LRN, because the
square of 256 is beyond float16's largest number.
"""

_INT8_OPERATORS = ["Conv", "Gemm", "Relu", "MaxPool", "AveragePool", "Add", "Concat"]
"""
Operators that ONNX Runtime computes in 8 bits between one convolution and the next. All others,
such as global pooling and softmax at the network's end, stay in float32: they are little work, and
their precision matters.
"""

_INT8_OPTIONS = {"OpTypesToExcludeOutputQuantization": ["Gemm"]}
"""
Logits keep more than 256 levels. When they were rounded as well, they were clipped to the range
seen in calibration, and up to 8 % of it off instead of 1 %. Weights and input of a Gemm are still 8
bits.
"""


@dataclass(frozen=True, slots=True)
class AccuracyLoss:
    """
    Top-1 accuracy before and after a conversion, on the same images.

    Attributes:
        images: Number of images.
        float32: Accuracy of the float32 graph, in `[0, 1]`.
        converted: Accuracy of the converted graph, in `[0, 1]`.
        share: The difference; negative if the converted graph is better.
    """

    images: int
    float32: float
    converted: float
    share: float


def convert(
    source: Path, target: Path, precision: ReducedPrecision, images: npt.NDArray[np.uint8]
) -> None:
    """
    Write the graph of *source* to *target* in another precision.

    Args:
        images: Training images, at least one: uint8 `[N, H, W, C]`. The ranges of the activations
            that they cause become those of int8, and must be within float16's.

    Raises:
        PrecisionError: If an activation is beyond float16's range. This is checked here because on
            a CPU ONNX Runtime computes a half graph in float32, so its answers would not show it.
    """
    model = onnx.load(source)
    ranges = _activation_ranges(source, images)
    graph = _halve(model, ranges) if precision == "float16" else _quantize(model, ranges)
    OnnxModel.graph_topological_sort(graph)
    model.graph.CopyFrom(graph)  # keeps the model's other fields, to which the tools add notes
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def compare(
    precision: ReducedPrecision,
    float32: npt.NDArray[np.float32],
    converted: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    max_loss: float,
) -> AccuracyLoss:
    """
    Compare the answers of two graphs to the same labelled images.

    Args:
        float32: Logits of the float32 graph: `[N, classes]`.
        converted: Logits of the graph in *precision*: `[N, classes]`.
        labels: Class of each image: `[N]`, at least one.
        max_loss: Largest loss of top-1 accuracy that is accepted, in `[0, 1]`.

    Raises:
        PrecisionError: If more is lost, or the converted graph's logits are not finite.
    """
    if not np.isfinite(converted).all():
        raise PrecisionError(f"in {precision} the logits are not finite numbers")
    count = len(labels)
    before, after = (int((logits.argmax(1) == labels).sum()) for logits in (float32, converted))
    # Subtract before dividing: (960 - 950) / 1000 is 0.01, while 0.96 - 0.95 is more.
    loss = AccuracyLoss(count, before / count, after / count, (before - after) / count)
    if loss.share > max_loss:
        raise PrecisionError(
            f"{precision} loses {loss.share:.4f} of the top-1 accuracy on {count} images: "
            f"{loss.float32:.4f} in float32, {loss.converted:.4f} in {precision}; "
            f"--max-accuracy-loss allows {max_loss:g}"
        )
    return loss


class _Feeds:
    """The images as inputs for a calibrator, a few at a time."""

    def __init__(self, input_name: str, images: npt.NDArray[np.uint8]) -> None:
        starts = range(0, len(images), _CALIBRATION_BATCH_SIZE)
        parts = (images[start : start + _CALIBRATION_BATCH_SIZE] for start in starts)
        self._feeds = ({input_name: part} for part in parts)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def _activation_ranges(source: Path, images: npt.NDArray[np.uint8]) -> TensorsData:
    """
    Return the smallest and largest value of each float32 tensor over *images*.

    Measured on trained networks, percentiles and entropy are worse: clipping the features that
    decide costs more than finer steps gain.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / source.name  # the calibrator writes files beside the model
        model.symlink_to(source.resolve())
        calibrator = create_calibrator(model, augmented_model_path=f"{folder}/augmented.onnx")
        calibrator.collect_data(_Feeds(calibrator.model.graph.input[0].name, images))
        return calibrator.compute_data()


def _halve(model: onnx.ModelProto, ranges: TensorsData) -> onnx.GraphProto:
    """Convert weights and arithmetic, from normalisation to logits, to half precision."""
    limit = np.finfo(np.float16).max
    for name, tensor in ranges.items():
        largest = np.abs(tensor.range_value).max()
        if largest > limit:
            raise PrecisionError(
                f"float16 ends at {limit:.0f}, but {name} in the graph reaches {largest:.0f}"
            )
    # The converter would round the probabilities to half, so it does not see the softmax.
    softmax, probabilities = model.graph.node.pop(), model.graph.output.pop()
    half = convert_float_to_float16(model, keep_io_types=True, op_block_list=_FLOAT32_OPERATORS)
    half.graph.ClearField("value_info")  # some of the types are wrong, and none is needed
    half.graph.node.append(softmax)
    half.graph.output.append(probabilities)
    graph: onnx.GraphProto = half.graph
    return graph


def _quantize(model: onnx.ModelProto, ranges: TensorsData) -> onnx.GraphProto:
    """
    Convert weights and activations to 8 bits, as QuantizeLinear and DequantizeLinear.

    Both are unsigned: with signed weights, AVX2 adds pairs of products in saturating 16 bits.
    Weights have a scale per output channel, and all a zero point of 128, the only one that ONNX
    Runtime fuses.
    """
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QUInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],  # empty means all except those of the next line
        nodes_to_exclude=_normalization(model.graph),
        op_types_to_quantize=_INT8_OPERATORS,
        extra_options=_INT8_OPTIONS,
    )
    graph: onnx.GraphProto = quantizer.quantize_model().graph
    return graph


def _normalization(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes before the first layer that has weights."""
    operators = [node.op_type for node in graph.node]
    first = min(operators.index(layer) for layer in ("Conv", "Gemm") if layer in operators)
    return [node.name for node in graph.node[:first]]
