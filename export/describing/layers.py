"""What readers of networks and of graphs give: layers, with their sizes and their cost."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CONVOLUTION = "conv"
LINEAR = "linear"
WEIGHTED = (CONVOLUTION, LINEAR)
"""Kinds of layers that papers count."""

WITH_CONSTANT = {"add": "shift", "multiply": "scale"}
"""What these kinds are called if they combine a layer with a constant."""

Extent = tuple[int, ...]
"""Along height and width."""


@dataclass(frozen=True, slots=True)
class Window:
    """
    What one number of the output is computed from; height and width each.

    Attributes:
        padding: On the upper and the left side.
    """

    kernel: Extent
    stride: Extent
    padding: Extent = (0, 0)
    dilation: Extent = (1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """
    One operation, with those after it that only change the values.

    Attributes:
        kind: `input`, `conv`, `linear`, `max pool`, `avg pool`, `global avg pool`, `bn`, `lrn`,
            `add`, `concat` and so on; of anything else the name of its class or operator.
        inputs: Places of the layers that it reads; empty for the image.
        output_shape: Channels, height, width, or the number of features; without the batch.
        window: None where there is none.
        parameters: Numbers that training fits.
        arithmetic: An expression that gives them; empty if there are none.
        macs: Multiply-accumulates for one image; bias is left out.
        then: Kinds of the operations that follow in the same row.
        receptive_field_px: Height and width, in pixels, of what one number of the output sees of
            the image, over its borders if it is so large; None is all of it.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    output_shape: tuple[int, ...]
    window: Window | None = None
    parameters: int = 0
    arithmetic: str = ""
    macs: int = 0
    then: tuple[str, ...] = ()
    receptive_field_px: Extent | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """
    A network as its layers.

    Attributes:
        layers: In an order in which they can be computed; the image is the first.
        trained_parameters: What the artifact's manifest says: batch norms that were folded into
            convolutions count in it. None where there is no manifest.
    """

    name: str
    layers: tuple[Layer, ...]
    trained_parameters: int | None = None

    @property
    def parameters(self) -> int:
        """Numbers that training fits."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def depth(self) -> int:
        """Convolutions and linear layers on the longest path: the 50 of ResNet-50."""
        depths: list[int] = []
        for layer in self.layers:
            before = max((depths[place] for place in layer.inputs), default=0)
            depths.append(before + (layer.kind in WEIGHTED))
        return max(depths)

    def count(self, kind: str) -> int:
        """Layers of *kind*."""
        return sum(layer.kind == kind for layer in self.layers)


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
