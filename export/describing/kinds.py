"""Rules that the readers of networks and of graphs share: kinds, parameters, costs, windows."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from convoy.artifact.layers import Layer, Window

WITH_CONSTANT = {"add": "shift", "multiply": "scale"}
"""Names of these kinds if they combine a layer with a constant."""


def with_weights(
    layer: Layer,
    *,
    window: Sequence[int],
    channels: int,
    outputs: int,
    groups: int = 1,
    has_bias: bool,
    positions: int,
) -> Layer:
    """
    Complete *layer*, a convolution or a linear layer, with its parameters and its costs.

    Bias is left out of the multiply-accumulates, as in torchvision's published figures.

    Args:
        window: Size of the kernel; empty for a linear layer.
        channels: Channels or features of the input.
        outputs: Channels or features of the output.
        groups: Groups into which the channels are divided.
        positions: Times that all weights are applied to one image.
    """
    weights = math.prod(window) * channels // groups  # of one output
    seen = "*".join(map(str, (*window, channels))) + (f"/{groups}" if groups > 1 else "")
    return dataclasses.replace(
        layer,
        parameters=(weights + has_bias) * outputs,
        arithmetic=f"({seen} + 1) * {outputs}" if has_bias else f"{seen}*{outputs}",
        macs=positions * weights * outputs,
    )


def shapes_arithmetic(shapes: Iterable[Sequence[int]]) -> str:
    """Return the sizes of arrays of these *shapes* as a sum, equal ones together: `64*3 + 2*64`."""
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
    # The window is a single pixel.
    if sizes == results:
        return None
    # The result is larger: each number is repeated.
    if any(result > size for size, result in zip(sizes, results, strict=True)):
        return dataclasses.replace(layer, kind="resize")
    stride = tuple(size // result for size, result in zip(sizes, results, strict=True))
    kernel = tuple(
        size - (result - 1) * step
        for size, result, step in zip(sizes, results, stride, strict=True)
    )
    kind = f"global {kind}" if max(results) == 1 else kind
    return dataclasses.replace(layer, kind=kind, window=Window(kernel, stride))
