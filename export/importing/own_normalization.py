"""The normalisation that a graph applies to its input itself, found in its first operators.

A graph that divides by 255, or subtracts a mean colour such as 123.675, takes pixels of 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from convoy.export.onnx.wiring import SHAPING, Wiring, attribute, called

_MOVING = SHAPING | {
    *("Pad", "Clip", "Resize", "Upsample", "Slice", "Gather", "Split", "Concat"),
    *("QuantizeLinear", "DequantizeLinear"),
}
"""Operators that move pixels and leave their scale as it is."""

_LEAST_FACTOR = 1 / 50
"""A factor below it can be meant for large pixels only: it would leave nothing of 0 to 1."""

_LARGEST_MEAN = 1.5
"""A mean above it, relative to the pixels, is not a mean of pixels of 0 to 1."""

_LEAST_MEAN = 0.2
"""A mean above it is that of pixels of 0 to 1, if not of larger ones."""

_STANDARDISING = 1.5
"""A factor above it is 1 / std of pixels of 0 to 1, whose deviation is at most 0.5."""

_Numbers = npt.NDArray[np.float64]


def find_whole_pixels(wiring: Wiring, name: str) -> str | None:
    """
    Return the operator by which the graph shows that its input *name* has pixels of 0 to 255.

    None means that nothing was found, which proves nothing: the first convolution may contain the
    normalisation.
    """
    return _first(wiring, name, _shows_whole_pixels)


def find_fractions(wiring: Wiring, name: str) -> str | None:
    """Return the operator by which the graph normalises pixels of 0 to 1; None if there is none."""
    return _first(wiring, name, _shows_fractions)


def _first(wiring: Wiring, name: str, shows: Callable[[_Numbers, _Numbers], bool]) -> str | None:
    """Return the first operator behind *name* whose scale *shows* something."""
    waiting: list[tuple[str, _Numbers, _Numbers]] = [(name, np.ones(1), np.zeros(1))]
    seen = set()
    while waiting:
        value, factor, offset = waiting.pop()
        if shows(factor, offset):
            node = wiring.maker(value)
            return called(node) if node else None
        if value not in seen:
            seen.add(value)
            waiting += _steps(wiring, value, factor, offset)
    return None


def _shows_whole_pixels(factor: _Numbers, offset: _Numbers) -> bool:
    is_small = 0 < np.abs(factor).max() < _LEAST_FACTOR
    return bool(is_small or _mean(factor, offset) > _LARGEST_MEAN)


def _shows_fractions(factor: _Numbers, offset: _Numbers) -> bool:
    # Pixels that are normalised already have a mean of about 0, and stay as large.
    return bool(_mean(factor, offset) > _LEAST_MEAN and factor.mean() > _STANDARDISING)


def _mean(factor: _Numbers, offset: _Numbers) -> float:
    """Return the mean colour that is subtracted, in the units of the input; 0 if none is."""
    return float(-offset.mean() / factor.mean()) if factor.mean() > 0 else 0


def _steps(
    wiring: Wiring, value: str, factor: _Numbers, offset: _Numbers
) -> Iterator[tuple[str, _Numbers, _Numbers]]:
    """Yield the values that are made of *value* = factor x pixel + offset, with theirs."""
    for node in wiring.readers(value):
        if node.op_type in _MOVING:
            yield from ((name, factor, offset) for name in node.output)
        elif node.op_type in _LINEAR and (step := _LINEAR[node.op_type](wiring, node, value)):
            yield node.output[0], step[0] * factor.mean(), step[0] * offset.mean() + step[1]


_Step = tuple[_Numbers, _Numbers] | None
"""Factor and offset of one operator; None if it is not linear with constants."""


def _operand(wiring: Wiring, node: NodeProto, value: str) -> _Numbers | None:
    """Return the constant that *node* combines *value* with."""
    others = [name for name in node.input if name != value]
    numbers = wiring.constant(others[0]) if len(others) == 1 else None
    is_numeric = numbers is not None and numbers.dtype.kind in "fiu" and numbers.size
    return numbers.astype(np.float64).ravel() if numbers is not None and is_numeric else None


def _mul(wiring: Wiring, node: NodeProto, value: str) -> _Step:
    numbers = _operand(wiring, node, value)
    return None if numbers is None else (numbers, np.zeros(1))


def _div(wiring: Wiring, node: NodeProto, value: str) -> _Step:
    numbers = _operand(wiring, node, value)
    is_divisor = numbers is not None and node.input[0] == value and numbers.all()
    return (1 / numbers, np.zeros(1)) if numbers is not None and is_divisor else None


def _add(wiring: Wiring, node: NodeProto, value: str) -> _Step:
    numbers = _operand(wiring, node, value)
    return None if numbers is None else (np.ones(1), numbers)


def _sub(wiring: Wiring, node: NodeProto, value: str) -> _Step:
    numbers = _operand(wiring, node, value)
    # constant - pixel is an inverted image, of the same range.
    is_mean = numbers is not None and node.input[0] == value
    return (np.ones(1), -numbers) if numbers is not None and is_mean else None


def _batch_normalization(wiring: Wiring, node: NodeProto, value: str) -> _Step:
    constants = [wiring.constant(name) for name in node.input[1:5]]
    scale, bias, mean, variance = constants if len(constants) == 4 else (None,) * 4
    if scale is None or bias is None or mean is None or variance is None:
        return None
    factor = scale.astype(np.float64) / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return factor, bias - mean * factor


def _scaler(wiring: Wiring, node: NodeProto, value: str) -> _Step:
    """ai.onnx.ml's Scaler: (x - offset) * scale."""
    scale = np.asarray(attribute(node, "scale", [1.0]), np.float64)
    return scale, -np.asarray(attribute(node, "offset", [0.0]), np.float64) * scale


def _image_scaler(wiring: Wiring, node: NodeProto, value: str) -> _Step:
    """CoreML's ImageScaler: x * scale + bias."""
    return (
        np.full(1, attribute(node, "scale", 1.0), np.float64),
        np.asarray(attribute(node, "bias", [0.0]), np.float64),
    )


_LINEAR: dict[str, Callable[[Wiring, NodeProto, str], _Step]] = {
    "Mul": _mul,
    "Div": _div,
    "Add": _add,
    "Sub": _sub,
    "BatchNormalization": _batch_normalization,
    "Scaler": _scaler,
    "ImageScaler": _image_scaler,
}
