"""The table of ONNX operators: the place to add one that the layer table should know.

A standard operator that is missing here is a plain layer: it has its own name and no
multiply-accumulates, and every constant of floats or bytes that it reads counts as parameters. Of
an operator of another domain that is missing here, such as those that ONNX Runtime's optimisations
make, it is not known how much it multiplies: it is not counted, and neither is its graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Role = Literal[
    "convolution",
    "transposed convolution",
    "matrix product",
    "packed product",
    "window pooling",
    "largest value",
    "mean",
    "slice",
    "copy",
    "shape",
    "plain",
]

MULTIPLYING = ("convolution", "transposed convolution", "matrix product", "packed product")
"""Roles that have multiply-accumulates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """
    The reading of one operator.

    Attributes:
        role: The rule by which it becomes a layer. A `copy` only stores the same numbers in
            another type; the result of a `shape` does not depend on pixels.
        kind: Kind of the layer; None if it is the operator's name in lower case.
        weights: Place of the weights among the inputs, if the role has weights.
        bias: Place of the bias among the inputs; None if it takes none.
        learned: Number of constants that training may have fitted; None for all.
        is_counted: Whether the multiply-accumulates are known: by the role, or none.
    """

    role: Role = "plain"
    kind: str | None = None
    weights: int = 1
    bias: int | None = None
    learned: int | None = None
    is_counted: bool = True


_COPY = Operator(role="copy")
_SHAPE = Operator(role="shape")
_RESIZE = Operator(learned=0)  # its constants are a region and scales
_ADDITION = Operator(kind="add")
_MULTIPLICATION = Operator(kind="multiply")
_CONVOLUTION = Operator(role="convolution", bias=2)
_PRODUCT = Operator(role="matrix product")
_PRODUCT_AND_BIAS = Operator(role="matrix product", bias=2)
_PACKED = Operator(role="packed product")
_FREE = Operator()
_UNCOUNTED = Operator(is_counted=False)

OPERATORS = {
    "Conv": _CONVOLUTION,
    "DeformConv": Operator(role="convolution", bias=3),
    "ConvInteger": Operator(role="convolution"),
    "QLinearConv": Operator(role="convolution", weights=3, bias=8),
    "ConvTranspose": Operator(role="transposed convolution", bias=2),
    "Gemm": _PRODUCT_AND_BIAS,
    "QGemm": Operator(role="matrix product", weights=3, bias=6),
    "MatMul": _PRODUCT,
    "MatMulInteger": _PRODUCT,
    "QLinearMatMul": Operator(role="matrix product", weights=3),
    "AveragePool": Operator(role="window pooling", kind="avg pool"),
    "MaxPool": Operator(role="window pooling", kind="max pool"),
    "GlobalMaxPool": Operator(role="largest value"),
    "GlobalAveragePool": Operator(role="mean"),
    "ReduceMean": Operator(role="mean"),
    "Slice": Operator(role="slice"),
    "BatchNormalization": Operator(kind="bn", learned=2),  # then come mean and variance
    "Sum": _ADDITION,
    "Sub": _ADDITION,
    "Mul": _MULTIPLICATION,
    "Div": _MULTIPLICATION,
    "Reshape": Operator(kind="flatten"),
    "Resize": _RESIZE,
    "Upsample": _RESIZE,
    "Cast": _COPY,
    "Identity": _COPY,
    "QuantizeLinear": _COPY,
    "DequantizeLinear": _COPY,
    "DynamicQuantizeLinear": _COPY,
    "Shape": _SHAPE,
    "Size": _SHAPE,
    # Their products depend on attributes and on what they read.
    **dict.fromkeys(("Attention", "Einsum", "GRU", "LSTM", "RNN"), _UNCOUNTED),
}
"""Operators of ONNX's own domain."""

DOMAINS: Mapping[str, Mapping[str, Operator]] = MappingProxyType(
    {
        # Operators that ONNX Runtime's optimisations and its quantisation make.
        "com.microsoft": {
            "FusedConv": _CONVOLUTION,
            "NhwcConv": _CONVOLUTION,
            "NhwcFusedConv": _CONVOLUTION,
            "QLinearConv": OPERATORS["QLinearConv"],
            "ConvTransposeWithDynamicPads": Operator(role="transposed convolution", bias=3),
            "FusedGemm": _PRODUCT_AND_BIAS,
            "GemmFastGelu": _PRODUCT_AND_BIAS,
            "GemmFloat8": _PRODUCT_AND_BIAS,
            "QGemm": OPERATORS["QGemm"],
            "FusedMatMul": _PRODUCT,
            "FusedMatMulActivation": _PRODUCT,
            "TransposeMatMul": _PRODUCT,
            "MatMulInteger16": _PRODUCT,
            "MatMulIntegerToFloat": Operator(role="matrix product", bias=6),
            "DynamicQuantizeMatMul": Operator(role="matrix product", bias=4),
            "MatMulNBits": _PACKED,
            "MatMulBnb4": _PACKED,
            "NhwcMaxPool": OPERATORS["MaxPool"],
            "QLinearAveragePool": OPERATORS["AveragePool"],
            "QLinearGlobalAveragePool": OPERATORS["GlobalAveragePool"],
            "QLinearReduceMean": OPERATORS["ReduceMean"],
            "QLinearAdd": Operator(kind="add", learned=0),
            "QLinearMul": Operator(kind="multiply", learned=0),
            "QLinearConcat": Operator(kind="concat", learned=0),
            "QuantizeLinear": _COPY,
            "DequantizeLinear": _COPY,
            # These change single values, or normalise.
            **dict.fromkeys(
                (
                    *("BiasAdd", "BiasDropout", "BiasGelu", "BiasSoftmax", "BiasSplitGelu"),
                    *("BitmaskBiasDropout", "BitmaskDropout", "ExpandDims", "FastGelu", "Gelu"),
                    *("GroupNorm", "Pad", "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax"),
                    *("QLinearWhere", "QuickGelu", "RotaryEmbedding", "SkipGroupNorm"),
                    *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "Trilu"),
                ),
                _FREE,
            ),
        },
        # Its convolutions have weights in blocks, filled up, which hide how many there are.
        "com.microsoft.nchwc": {
            "ReorderInput": _COPY,
            "ReorderOutput": _COPY,
            "MaxPool": OPERATORS["MaxPool"],
            "AveragePool": OPERATORS["AveragePool"],
            "GlobalMaxPool": OPERATORS["GlobalMaxPool"],
            "GlobalAveragePool": OPERATORS["GlobalAveragePool"],
            "Upsample": _RESIZE,
        },
        "ai.onnx.ml": dict.fromkeys(
            ("ArrayFeatureExtractor", "Binarizer", "CastMap", "LabelEncoder", "ZipMap"), _FREE
        ),
    }
)
"""Operators of other domains."""


def operator(name: str, domain: str = "") -> Operator:
    """Return the entry of the operator *name*; a plain one if the tables have none."""
    if domain in ("", "ai.onnx"):
        return OPERATORS.get(name, _FREE)
    return DOMAINS.get(domain, {}).get(name, _UNCOUNTED)
