"""Figures derived from the layers alone: rows, receptive fields, totals."""

from __future__ import annotations

from typing import Any

import pytest

from convoy.artifact.layers import Description, Layer, Window
from convoy.export.describing.kinds import pooling, shapes_arithmetic, with_weights
from convoy.export.describing.rows import make_rows


def layer(kind: str, *inputs: int, shape: tuple[int, ...] = (8, 32, 32), **more: Any) -> Layer:
    """A layer that is named like its kind."""
    return Layer(name=kind, kind=kind, inputs=inputs, output_shape=shape, **more)


def convolution(*inputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> Layer:
    """A convolution with four weights."""
    window = Window((kernel,) * 2, (stride,) * 2, dilation=(dilation,) * 2)
    return layer("conv", *inputs, window=window, parameters=4, arithmetic="2*2", macs=100)


def fields(*operations: Layer) -> list[tuple[int, ...] | None]:
    """The receptive field of each row after the image."""
    return [row.receptive_field_px for row in make_rows([layer("input"), *operations])[1:]]


def squares(*sides: int) -> list[tuple[int, int]]:
    return [(side, side) for side in sides]


def test_stacked_3x3_convolutions() -> None:
    """
    Two see as much as one of 5x5, three as one of 7x7.
    """
    assert fields(*(convolution(place) for place in range(3))) == squares(3, 5, 7)


def test_stride_widens_what_follows() -> None:
    """
    After a stride of 2, each step of a window is two pixels; dilation spreads a window.
    """
    stack = (convolution(0, kernel=7, stride=2), convolution(1), convolution(2, dilation=2))
    assert fields(*stack) == squares(7, 11, 19)


def test_height_and_width_are_two() -> None:
    """
    A 1x7 convolution sees a stripe, and a 7x1 after it makes it a square.
    """
    stripe = layer("conv", 0, window=Window((1, 7), (1, 1)))
    upright = layer("conv", 1, window=Window((7, 1), (1, 1)))
    assert fields(stripe, upright) == [(1, 7), (7, 7)]


@pytest.mark.parametrize("join", ["add", "concat"])
def test_joined_branches(join: str) -> None:
    """
    The largest receptive field counts where branches meet.
    """
    branches = (convolution(0, kernel=1), convolution(0, kernel=5), convolution(0, kernel=3))
    assert fields(*branches, layer(join, 1, 2, 3))[-1] == (5, 5)


def test_whole_image() -> None:
    """
    A linear layer sees everything, and so do a window as large as its input and what follows.
    """
    everything = layer("avg pool", 0, shape=(8, 1, 1), window=Window((32, 32), (32, 32)))
    after = layer("conv", 1, shape=(8, 1, 1), window=Window((1, 1), (1, 1)))
    assert fields(everything, after) == [None, None]
    assert fields(layer("linear", 0, shape=(10,))) == [None]


def test_small_map_is_not_the_whole_image() -> None:
    """
    A window as large as its input that is moved over its border does not see all of it.
    """
    small = layer("conv", 0, shape=(8, 3, 3), window=Window((5, 5), (8, 8)))
    padded = layer("conv", 1, shape=(8, 3, 3), window=Window((3, 3), (1, 1), (1, 1)))
    assert fields(small, padded) == squares(5, 21)


def test_activations_go_into_the_row_before() -> None:
    """
    Batch norm, activation and flattening stand behind a convolution; their parameters count.
    """
    norm = layer("bn", 1, parameters=16, arithmetic="2*8")
    flat = layer("flatten", 3, shape=(8 * 32 * 32,))
    image, row = make_rows([layer("input"), convolution(0), norm, layer("relu", 2), flat])
    assert (row.kind, row.then, row.inputs) == ("conv", ("bn", "relu", "flatten"), (0,))
    assert (row.arithmetic, row.parameters, row.macs) == ("2*2 + 2*8", 20, 100)
    assert row.output_shape == (8, 32, 32)
    assert image.then == ()


@pytest.mark.parametrize(
    "operation",
    [
        layer("max pool", 0, window=Window((3, 3), (1, 1), (1, 1))),
        layer("linear", 0),
        layer("lrn", 0),
        layer("resize", 0, shape=(8, 64, 64)),
        layer("bn", 0, parameters=16, arithmetic="2*8"),
    ],
)
def test_rows_of_their_own(operation: Layer) -> None:
    """
    Windows, linear layers, other sizes, and parameters that are of no convolution have a row.
    """
    assert [row.kind for row in make_rows([layer("input"), operation])] == ["input", operation.kind]


def test_activation_of_one_branch_only() -> None:
    """
    An activation has its own row if another layer reads its input.
    """
    rows = make_rows(
        [layer("input"), convolution(0), layer("relu", 1), convolution(2), layer("add", 1, 3)]
    )
    assert [row.kind for row in rows] == ["input", "conv", "relu", "conv", "add"]


def test_constants_count_behind_weights_only() -> None:
    """
    A bias that is added apart was trained; what normalises the image was not.
    """
    shift: dict[str, Any] = {"parameters": 8, "arithmetic": "8"}
    rows = make_rows(
        [layer("input"), layer("shift", 0, **shift), convolution(1), layer("shift", 2, **shift)]
    )
    assert [(row.then, row.parameters) for row in rows] == [(("shift",), 0), (("shift",), 12)]


def test_names_are_unique() -> None:
    """
    A module that is called again gets a number.
    """
    rows = make_rows([layer("input"), *(convolution(place) for place in range(3))])
    assert [row.name for row in rows] == ["input", "conv", "conv#2", "conv#3"]


def test_totals() -> None:
    """
    Parameters and MACs are sums; the depth is that of the longest path.
    """
    block = [convolution(0), convolution(1), convolution(0), layer("add", 2, 3)]
    linear = layer("linear", 4, shape=(10,), parameters=5, arithmetic="5", macs=7)
    found = Description("net", make_rows([layer("input"), *block, linear]))
    assert (found.parameters, found.macs, found.depth) == (17, 307, 3)
    assert (found.count("conv"), found.count("linear")) == (3, 1)


def test_arithmetic() -> None:
    """
    The arithmetic is that on paper, for grouped layers and those without bias, too.
    """
    plain = layer("conv", 0)
    sizes: list[tuple[tuple[int, ...], int, int, int, bool]] = [
        ((5, 5), 6, 16, 1, True),
        ((3, 3), 64, 64, 1, False),
        ((5, 5), 96, 256, 2, True),
        ((), 400, 120, 1, True),
    ]
    found = [
        with_weights(
            plain,
            window=window,
            channels=channels,
            outputs=outputs,
            groups=groups,
            has_bias=has_bias,
            positions=7,
        )
        for window, channels, outputs, groups, has_bias in sizes
    ]
    assert [(row.arithmetic, row.parameters, row.macs) for row in found] == [
        ("(5*5*6 + 1) * 16", 2_416, 7 * 2_400),
        ("3*3*64*64", 36_864, 7 * 36_864),
        ("(5*5*96/2 + 1) * 256", 307_456, 7 * 307_200),
        ("(400 + 1) * 120", 48_120, 7 * 48_000),
    ]
    assert shapes_arithmetic([(64,), (64,), (3, 4), ()]) == "2*64 + 3*4 + 1"


def test_pooling_by_size() -> None:
    """
    Adaptive pooling has the window that its sizes make: all of a map, a part, or nothing at all.
    """
    before = (8, 7, 7)
    everything = pooling(layer("", 0, shape=(8, 1, 1)), "avg pool", before)
    part = pooling(layer("", 0, shape=(8, 3, 3)), "max pool", before)
    repeated = pooling(layer("", 0, shape=(8, 14, 14)), "avg pool", before)
    assert everything
    assert part
    assert repeated
    assert (everything.kind, everything.window) == ("global avg pool", Window((7, 7), (7, 7)))
    assert (part.kind, part.window) == ("max pool", Window((3, 3), (2, 2)))
    assert (repeated.kind, repeated.window) == ("resize", None)
    assert pooling(layer("", 0, shape=before), "avg pool", before) is None
