"""A drawing has a place for every layer and a line for everything that reads another."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

from convoy.artifact.layers import Layer
from convoy.export.describing.placing import Drawing, place


def layers_of(*inputs: tuple[int, ...]) -> list[Layer]:
    """An image, and a layer for each of *inputs*."""
    return [
        Layer(name=str(number), kind="conv", inputs=read, output_shape=(1,))
        for number, read in enumerate([(), *inputs])
    ]


ALONE = layers_of()
CHAIN = layers_of(*((place,) for place in range(60)))
MODULE = layers_of((0,), (0,), (2,), (0,), (4,), (5,), (1, 3, 6), (7,))
RESIDUAL = layers_of((0,), (1,), (2, 0), (3,), (4,), (5, 3))
NESTED = layers_of((0,), (0,), (0,), (1,), (1,), (2,), (6,), (6,), (3, 4, 5, 7, 8))
OUTPUTS = layers_of((0,), (0,))
BLOCKS = layers_of(*((n - 1,) if n % 3 else (n - 1, n - 3) for n in range(1, 61)))


def boxes(drawing: Drawing) -> dict[int, tuple[float, float]]:
    """The place of each layer; where it stands twice, the first."""
    return {box.layer: box.at for box in drawing.boxes if not box.is_repeated}


@pytest.mark.parametrize("layers", [ALONE, CHAIN, MODULE, RESIDUAL, NESTED, OUTPUTS, BLOCKS])
def test_everything_is_drawn_and_nothing_covers_another(layers: list[Layer]) -> None:
    """
    Each layer has one box, each input one line that ends at the two boxes; boxes keep apart.
    """
    drawing = place(layers, 2.6)
    assert Counter(box.layer for box in drawing.boxes if not box.is_repeated) == Counter(
        range(len(layers))
    )
    for one, other in combinations(drawing.boxes, 2):
        apart = abs(one.at[0] - other.at[0]), abs(one.at[1] - other.at[1])
        assert apart[0] > 0.99 or apart[1] > 0.99
    stands = {box.at: box.layer for box in drawing.boxes}
    drawn = [(stands[line.points[0]], stands[line.points[-1]]) for line in drawing.lines]
    assert Counter(drawn) == Counter(
        (start, end) for end, layer in enumerate(layers) for start in layer.inputs
    )
    for x, y in stands:
        assert 0.49 < x < drawing.width - 0.49
        assert 0.49 < y < drawing.height - 0.49


def test_branches_stand_side_by_side() -> None:
    """
    The branches of a module have a lane each, and what joins them the middle.
    """
    at = boxes(place(MODULE, 2.6))
    assert [at[layer][1] for layer in (1, 2, 4)] == [1.5, 1.5, 1.5]
    assert [at[layer][0] for layer in (1, 2, 4)] == [0.5, 1.5, 2.5]
    assert [at[layer][0] for layer in (0, 3, 5, 6, 7)] == [1.5, 1.5, 2.5, 2.5, 1.5]
    assert at[7][1] == at[6][1] + 1


def test_branch_holds_its_lane() -> None:
    """
    The line of a short branch runs down its lane, past the rows of the longer ones.
    """
    (line,) = (line for line in place(MODULE, 2.6).lines if line.points[0] == (0.5, 1.5))
    assert line.points == ((0.5, 1.5), (0.5, 2.5), (0.5, 3.5), (1.5, 4.5))


def test_shortcut_goes_around() -> None:
    """
    A shortcut leaves the main path straight and goes around it.
    """
    drawing = place(RESIDUAL, 2.6)
    assert {x for x, _ in boxes(drawing).values()} == {0.5}
    around = [line for line in drawing.lines if line.goes_around]
    assert len(around) == 2
    assert all(max(x for x, _ in line.points) > 1 for line in around)


@pytest.mark.parametrize("layers", [CHAIN, BLOCKS])
def test_long_networks_have_columns(layers: list[Layer]) -> None:
    """
    A long network is about as wide as high; each column begins with the end of the one before.
    """
    drawing = place(layers, 2.6)
    assert 0.7 < drawing.width * 2.6 / drawing.height < 2.8
    repeated = [box for box in drawing.boxes if box.is_repeated]
    assert len(repeated) > 1
    for box in repeated:
        assert box.at[1] == 0.5
        assert box.at[0] > boxes(drawing)[box.layer][0]
