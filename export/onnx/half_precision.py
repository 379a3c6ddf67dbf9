"""Conversion of a float32 graph to half precision.

The graphs are those that `convoy.export.onnx.graph` writes: uint8 images, normalisation, network,
softmax. Input and outputs keep their names, shapes and types, so that no client sees a difference.
PyTorch is not needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import TensorsData
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from convoy.export.errors import PrecisionError
from convoy.export.quantization.ranges import measure_ranges

_FLOAT32_OPERATORS = [*DEFAULT_OP_BLOCK_LIST, "LRN"]
"""
Operators that stay in float32: those that ONNX Runtime's converter leaves out, and LRN, because the
square of 256 is beyond float16's largest number.
"""


def halve(source: Path, target: Path, batches: Iterable[npt.NDArray[Any]]) -> None:
    """
    Write the graph of *source* to *target* with weights and arithmetic in half precision.

    Args:
        batches: Training images as the graph takes them, at least one batch: `[n, ...]`.

    Raises:
        PrecisionError: If an activation is beyond float16's range. This is checked here because on
            a CPU ONNX Runtime computes a half graph in float32, so its answers would not show it.
    """
    model = onnx.load(source)
    (ranges,) = measure_ranges(model, batches)
    graph = _halved(model, ranges)
    OnnxModel.graph_topological_sort(graph)
    model.graph.CopyFrom(graph)  # keeps the model's other fields, to which the tools add notes
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def _halved(model: onnx.ModelProto, ranges: TensorsData) -> onnx.GraphProto:
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
