"""Conversion of a prepared graph's weights and activations to 8 bits."""

from __future__ import annotations

import copy
from collections.abc import Collection

import onnx
from onnxruntime.quantization import QDQQuantizer, QuantType, TensorsData
from onnxruntime.transformers.onnx_model import OnnxModel

from convoy.artifact.manifest import Scheme
from convoy.export.errors import GraphError
from convoy.export.onnx.session import one_line
from convoy.export.onnx.wiring import Wiring
from convoy.export.quantization.selection import (
    JOINING,
    OPERATORS,
    PASSING,
    find_excluded,
    with_neighbours,
)

_OPTIONS = {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]}
"""
Logits keep more than 256 levels. When they were rounded as well, they were clipped to the range
seen in calibration, and up to 8 % of it off instead of 1 %. Weights and input of such a layer are
still 8 bits.
"""

_TYPES: dict[str, tuple[QuantType, QuantType]] = {
    "u8s8": (QuantType.QUInt8, QuantType.QInt8),
    "u8u8": (QuantType.QUInt8, QuantType.QUInt8),
    "s8s8": (QuantType.QInt8, QuantType.QInt8),
}
"""Activations and weights of each scheme."""


def convert(
    model: onnx.ModelProto,
    ranges: TensorsData,
    scheme: Scheme,
    *,
    only: Collection[str] = (),
    without: Collection[str] = (),
) -> onnx.ModelProto:
    """
    Return *model* in 8 bits, with QuantizeLinear and DequantizeLinear around its operators.

    Weights have a scale per output channel, and their zero is in the middle of their type: ONNX
    Runtime fuses no others.

    Args:
        model: A prepared graph.
        ranges: The range of each activation.
        only: Layers to convert; if empty, all but those of *without*.
        without: Layers that stay in float32.

    Raises:
        GraphError: If ONNX Runtime's quantiser fails.
    """
    wiring = Wiring(model)
    chosen = {name for layer in only for name in with_neighbours(wiring, layer, PASSING)}
    # Where branches meet, too: these operators would round the numbers that are to be exact.
    around = (*PASSING, *JOINING)
    kept = {name for layer in without for name in with_neighbours(wiring, layer, around)}
    activations, weights = _TYPES[scheme]
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    quantizer = QDQQuantizer(
        changed,
        per_channel=True,
        reduce_range=False,
        weight_qType=weights,
        activation_qType=activations,
        tensors_range=copy.deepcopy(ranges),  # it is changed
        nodes_to_quantize=[*chosen],
        nodes_to_exclude=[*find_excluded(model), *kept],
        op_types_to_quantize=[*OPERATORS],
        extra_options=_OPTIONS,
    )
    try:
        graph: onnx.GraphProto = quantizer.quantize_model().graph
    except Exception as error:  # the quantiser's errors share no base class
        raise GraphError(f"ONNX Runtime cannot convert the graph: {one_line(error)}") from error
    OnnxModel.graph_topological_sort(graph)
    graph.ClearField("value_info")  # the float32 graph's
    converted = onnx.ModelProto()
    converted.CopyFrom(model)  # keeps the model's other fields, to which the tools add notes
    converted.graph.CopyFrom(graph)
    return converted
