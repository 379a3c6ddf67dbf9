"""What readers of networks and of graphs share: names of kinds, and arithmetic."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

from convoy.artifact.layers import Layer, Window

WITH_CONSTANT = {"add": "shift", "multiply": "scale"}
"""What these kinds are called if they combine a layer with a constant."""


def weights_arithmetic(
    factors: Iterable[int], outputs: int, *, groups: int = 1, has_bias: bool
) -> str:
    """
    `(5*5*6 + 1) * 16`: for each of the *outputs* a weight for each number it sees, and a bias.

    Args:
        factors: Size of the window, and the channels of the input.
        groups: Into which the channels are divided.
    """
    seen = "*".join(map(str, factors)) + (f"/{groups}" if groups > 1 else "")
    return f"({seen} + 1) * {outputs}" if has_bias else f"{seen}*{outputs}"


def shapes_arithmetic(shapes: Iterable[Sequence[int]]) -> str:
    """`64*3 + 2*64`: the sizes of arrays of these *shapes*, like ones together."""
    sizes = Counter("*".join(map(str, shape or (1,))) for shape in shapes)
    return " + ".join(size if n == 1 else f"{n}*{size}" for size, n in sizes.items())


def pooling(layer: Layer, kind: str, before: tuple[int, ...]) -> Layer | None:
    """
    Complete *layer*, a pooling whose window follows from its sizes; None if it changes nothing.

    Args:
        kind: `avg pool` or `max pool`.
        before: Shape of its input: channels, height, width.
    """
    sizes, results = before[1:], layer.output_shape[1:] or (1, 1)
    if sizes == results:
        return None
    if any(result > size for size, result in zip(sizes, results, strict=True)):
        return dataclasses.replace(layer, kind="resize")  # each number is repeated
    stride = tuple(size // result for size, result in zip(sizes, results, strict=True))
    kernel = tuple(
        size - (result - 1) * step
        for size, result, step in zip(sizes, results, stride, strict=True)
    )
    kind = f"global {kind}" if max(results) == 1 else kind
    return dataclasses.replace(layer, kind=kind, window=Window(kernel, stride))
