"""The table of ONNX operators: the place to add one that the layer table should know.

An operator that is missing here is a plain layer: it has its own name and no multiply-accumulates,
and every constant of floats or bytes that it reads counts as parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal[
    "convolution",
    "transposed convolution",
    "matrix product",
    "window pooling",
    "largest value",
    "mean",
    "slice",
    "copy",
    "shape",
    "plain",
]


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
    """

    role: Role = "plain"
    kind: str | None = None
    weights: int = 1
    bias: int | None = None
    learned: int | None = None


_COPY = Operator(role="copy")
_SHAPE = Operator(role="shape")
_RESIZE = Operator(learned=0)  # its constants are a region and scales
_ADDITION = Operator(kind="add")
_MULTIPLICATION = Operator(kind="multiply")

OPERATORS = {
    "Conv": Operator(role="convolution", bias=2),
    "ConvInteger": Operator(role="convolution"),
    "QLinearConv": Operator(role="convolution", weights=3, bias=8),
    "ConvTranspose": Operator(role="transposed convolution", bias=2),
    "Gemm": Operator(role="matrix product", bias=2),
    "QGemm": Operator(role="matrix product", weights=3, bias=6),
    "MatMul": Operator(role="matrix product"),
    "MatMulInteger": Operator(role="matrix product"),
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
}


def operator(name: str) -> Operator:
    """Return the entry of the operator *name*; a plain one if the table has none."""
    return OPERATORS.get(name, Operator())
