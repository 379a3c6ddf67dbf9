"""From a float32 graph to one in half precision or 8 bits, and what that costs in accuracy.

The graphs are those that `convoy.export.onnx.graph` writes: uint8 images, normalisation, network,
softmax.
Input and outputs stay what they are, so that no client sees a difference. Needs no PyTorch.
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
Images to convert with. Measured on trained networks: 16 leave int8 logits up to 5 % off where 256
leave them 0.4 % off, 1,000 make no difference.
"""

_CALIBRATION_BATCH_SIZE = 8
"""Bounds the memory; the ranges do not depend on it."""

_FLOAT32_OPERATORS = [*DEFAULT_OP_BLOCK_LIST, "LRN"]
"""Not computed in half: what ONNX Runtime leaves out, and LRN, whose squares overflow from 256."""

_INT8_OPERATORS = ["Conv", "Gemm", "Relu", "MaxPool", "AveragePool", "Add", "Concat"]
"""
What ONNX Runtime computes in 8 bits between a convolution and the next. All else, global pooling
and softmax at the network's end among them, stays float32: little work, much precision.
"""

_INT8_OPTIONS = {"OpTypesToExcludeOutputQuantization": ["Gemm"]}
"""
Logits keep more than 256 levels: rounded as well, they were clipped to the range that calibration
saw, and up to 8 % of it off instead of 1 %. A Gemm's weights and input are 8 bits all the same.
"""


@dataclass(frozen=True, slots=True)
class AccuracyLoss:
    """
    Top-1 accuracy before and after a conversion, on the same images.

    Attributes:
        float32: Share of the images that the float32 graph answers right.
        converted: Share of them that the converted graph answers right.
        share: What is lost; negative if the converted graph is the better one.
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
        images: Some that the network was trained on: uint8 `[N, H, W, C]`, at least one. int8
            covers the numbers that they cause in the network; float16 must be able to hold them.

    Raises:
        PrecisionError: If float16 cannot. ONNX Runtime computes a half graph in float32 on a CPU,
            so that its answers here would not show it.
    """
    model = onnx.load(source)
    ranges = _activation_ranges(source, images)
    graph = _halve(model, ranges) if precision == "float16" else _quantize(model, ranges)
    OnnxModel.graph_topological_sort(graph)
    model.graph.CopyFrom(graph)  # without what the tools note beside it
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
        PrecisionError: If more is lost, or the converted graph's logits are no numbers.
    """
    if not np.isfinite(converted).all():
        raise PrecisionError(f"in {precision} the logits are not finite numbers")
    count = len(labels)
    before, after = (int((logits.argmax(1) == labels).sum()) for logits in (float32, converted))
    # Divided last: (960 - 950) / 1000 is 0.01, 0.96 - 0.95 is more.
    loss = AccuracyLoss(count, before / count, after / count, (before - after) / count)
    if loss.share > max_loss:
        raise PrecisionError(
            f"{precision} loses {loss.share:.4f} of the top-1 accuracy on {count} images: "
            f"{loss.float32:.4f} in float32, {loss.converted:.4f} in {precision}; "
            f"--max-accuracy-loss allows {max_loss:g}"
        )
    return loss


class _Feeds:
    """The images for a calibrator, a few at a time."""

    def __init__(self, input_name: str, images: npt.NDArray[np.uint8]) -> None:
        starts = range(0, len(images), _CALIBRATION_BATCH_SIZE)
        parts = (images[start : start + _CALIBRATION_BATCH_SIZE] for start in starts)
        self._feeds = ({input_name: part} for part in parts)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def _activation_ranges(source: Path, images: npt.NDArray[np.uint8]) -> TensorsData:
    """
    Least and largest value of each float32 tensor over *images*.

    Extremes, not percentiles or entropy: measured on trained networks, what is clipped off the
    features that decide costs more than finer steps gain.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / source.name  # files are written beside it
        model.symlink_to(source.resolve())
        calibrator = create_calibrator(model, augmented_model_path=f"{folder}/augmented.onnx")
        calibrator.collect_data(_Feeds(calibrator.model.graph.input[0].name, images))
        return calibrator.compute_data()


def _halve(model: onnx.ModelProto, ranges: TensorsData) -> onnx.GraphProto:
    """Weights and arithmetic of *model*, from normalisation to logits, in half precision."""
    limit = np.finfo(np.float16).max
    for name, tensor in ranges.items():
        largest = np.abs(tensor.range_value).max()
        if largest > limit:
            raise PrecisionError(
                f"float16 ends at {limit:.0f}, but {name} in the graph reaches {largest:.0f}"
            )
    # Softmax, the last node, would get its probabilities rounded to half on their way out.
    softmax, probabilities = model.graph.node.pop(), model.graph.output.pop()
    half = convert_float_to_float16(model, keep_io_types=True, op_block_list=_FLOAT32_OPERATORS)
    half.graph.ClearField("value_info")  # some of the types are wrong, none is needed
    half.graph.node.append(softmax)
    half.graph.output.append(probabilities)
    graph: onnx.GraphProto = half.graph
    return graph


def _quantize(model: onnx.ModelProto, ranges: TensorsData) -> onnx.GraphProto:
    """
    Weights and activations of *model* in 8 bits, as QuantizeLinear and DequantizeLinear.

    Both unsigned: with signed weights, AVX2 adds pairs of products in saturating 16 bits. Weights
    have a scale per output channel, and a zero point of 128 for all: ONNX Runtime fuses no other.
    """
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QUInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],  # all but those of the next line
        nodes_to_exclude=_normalization(model.graph),
        op_types_to_quantize=_INT8_OPERATORS,
        extra_options=_INT8_OPTIONS,
    )
    graph: onnx.GraphProto = quantizer.quantize_model().graph
    return graph


def _normalization(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes before the first layer that has weights."""
    operators = [node.op_type for node in graph.node]
    first = min(operators.index(layer) for layer in ("Conv", "Gemm") if layer in operators)
    return [node.name for node in graph.node[:first]]
