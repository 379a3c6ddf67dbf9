"""Where the boxes of a drawing stand: top to bottom, branches side by side, in columns.

A layer's rank is one more than the largest of what it reads. Its lane is that of what it reads;
the readers of one layer spread around its lane, and what reads several stands in their middle.
An input that goes past all layers of a block, as in a residual network, takes no lane but goes
around them. Long networks are cut where everything goes through one layer.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from convoy.artifact.layers import Layer

Point = tuple[float, float]
"""Lanes from the left, rows from the top."""

_Edge = tuple[int, int]
"""Places of a layer and of one that reads it."""

_GAP = 0.3
"""Between two columns, in lanes."""

_BORDER = 0.5
"""Between the middle of a box and the border of the drawing, in lanes and in rows."""

_BULGE = 0.62
"""From the middle of the outermost lane to what goes around it, in lanes."""

_SHORTEST = 12
"""Ranks below which a column is not cut."""

_WIDE = 1.4
"""Width by height that a drawing should have."""


@dataclass(frozen=True, slots=True)
class Box:
    """
    One layer in the drawing.

    Attributes:
        layer: Its place in the list of layers.
        is_repeated: Whether it only says at the top of a column where the last one ended.
    """

    layer: int
    at: Point
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """
    From one layer to one that reads it.

    Attributes:
        points: From the middle of the one box to that of the other, with a point in each row.
        goes_around: Whether it goes from side to side, around what lies between.
    """

    points: tuple[Point, ...]
    goes_around: bool = False


@dataclass(slots=True)
class Drawing:
    """All boxes and lines, and the size of the whole in lanes and rows."""

    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    width: float = 0
    height: float = 0


def place(layers: Sequence[Layer], lane_per_row: float) -> Drawing:
    """
    Place *layers* in as many columns as make the drawing a little wider than high.

    Args:
        lane_per_row: Width of a lane as a multiple of a row's height.
    """
    lanes = _Lanes(layers)
    cuts = lanes.cuts()
    ends_for: dict[int, list[int]] = {}  # for each number of columns those of least height
    for length in range(_SHORTEST, max(_SHORTEST, len(lanes.rows)) + 1):
        ends = _ends(cuts, length)
        ends_for.setdefault(len(ends), ends)

    def ugliness(drawing: Drawing) -> float:
        return abs(math.log(drawing.width * lane_per_row / drawing.height / _WIDE))

    return min((_draw(lanes, ends) for ends in ends_for.values()), key=ugliness)


class _Lanes:
    """
    Lane and rank of each layer, as if the drawing had one column.

    Attributes:
        ranks: Of each layer.
        rows: What is at each rank: lanes of layers, and of edges on their way.
        edges: Those that lead from row to row.
        around: Those that go around, and take no lane.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.ranks: list[int] = []
        for layer in layers:
            self.ranks.append(1 + max((self.ranks[place] for place in layer.inputs), default=-1))
        edges = [(start, end) for end, layer in enumerate(layers) for start in layer.inputs]
        readers = Counter(start for start, _ in edges)
        self.around = [
            (start, end)
            for start, end in edges
            if self.ranks[end] - self.ranks[start] > 1
            and readers[start] > 1
            and len(layers[end].inputs) > 1
        ]
        self.edges = [edge for edge in edges if edge not in self.around]
        self.rows: list[dict[int | _Edge, float]] = []
        for rank in range(max(self.ranks) + 1):
            self.rows.append(_spread(dict(self._wishes(rank))))

    def _wishes(self, rank: int) -> Iterator[tuple[int | _Edge, float]]:
        """The lanes that layers and passing edges at *rank* would take if they were alone."""
        arriving: dict[int, list[float]] = defaultdict(list)
        for edge in self.edges:
            start, end = edge
            if not self.ranks[start] < rank <= self.ranks[end]:
                continue
            lane = self.rows[rank - 1].get(edge)
            if lane is None:
                lane = self.rows[rank - 1][start] + self._offset(edge)
            if self.ranks[end] == rank:
                arriving[end].append(lane)
            else:
                yield edge, lane
        for layer, at in enumerate(self.ranks):
            if at == rank:
                lanes = arriving[layer] or [0.0]
                yield layer, sum(lanes) / len(lanes)

    def _offset(self, edge: _Edge) -> float:
        """How far the reader of a layer stands from it, for its other readers."""
        siblings = [other for other in self.edges if other[0] == edge[0]]
        return siblings.index(edge) - (len(siblings) - 1) / 2

    def cuts(self) -> list[int]:
        """Ranks at which everything goes through one layer; the first and the last in any case."""
        covered = {
            rank
            for start, end in self.around
            for rank in range(self.ranks[start] + 1, self.ranks[end])
        }
        last = len(self.rows) - 1
        inner = (r for r in range(1, last) if len(self.rows[r]) == 1 and r not in covered)
        return [0, *inner, last]


def _spread(wishes: dict[int | _Edge, float]) -> dict[int | _Edge, float]:
    """Lanes at least 1 apart, in the order of the *wishes* and around their middle."""
    if len(wishes) == 1:  # what everything goes through stands in the middle of all
        return dict.fromkeys(wishes, 0.0)
    lanes: list[float] = []
    order = sorted(wishes, key=lambda item: wishes[item])
    for item in order:
        lanes.append(max(wishes[item], lanes[-1] + 1) if lanes else wishes[item])
    shift = (sum(wishes.values()) - sum(lanes)) / len(lanes)
    return {item: lane + shift for item, lane in zip(order, lanes, strict=True)}


def _ends(cuts: Sequence[int], length: int) -> list[int]:
    """
    Where columns of at most *length* ranks begin and end, if there are *cuts* enough.

    A column ends with the layer that the next begins with.
    """
    ends, ahead = [cuts[0]], list(cuts[1:])
    while ahead:
        near = (rank for rank in ahead if rank - ends[-1] <= length)
        ends.append(max(near, default=ahead[0]))
        ahead = [rank for rank in ahead if rank > ends[-1]]
    return ends


def _draw(lanes: _Lanes, ends: Sequence[int]) -> Drawing:
    """Draw the columns that *ends* part, from left to right."""
    drawing = Drawing()
    for first, last in pairwise(ends):
        leftmost = min(min(row.values()) for row in lanes.rows[first : last + 1])
        gap = _GAP if drawing.width else 0
        column = _Column(lanes, first, last, drawing.width + gap + _BORDER - leftmost)
        drawing.boxes.extend(column.boxes())
        drawing.lines.extend(column.lines())
        right = max((x for line in column.lines() for x, _ in line.points), default=0)
        drawing.width = max(right, *(box.at[0] for box in column.boxes())) + _BORDER
        drawing.height = max(drawing.height, last - first + 2 * _BORDER)
    return drawing


@dataclass(frozen=True, slots=True)
class _Column:
    """The ranks from *first* to *last*, moved to the right by *left* lanes."""

    lanes: _Lanes
    first: int
    last: int
    left: float

    def boxes(self) -> Iterator[Box]:
        for rank in range(self.first, self.last + 1):
            for item in self.lanes.rows[rank]:
                if isinstance(item, int):
                    is_repeated = rank == self.first > 0
                    yield Box(item, self._at(item, rank), is_repeated)

    def lines(self) -> Iterator[Line]:
        ranks = self.lanes.ranks
        for edge in (*self.lanes.edges, *self.lanes.around):
            start, end = ranks[edge[0]], ranks[edge[1]]
            if self.first <= start and end <= self.last:
                yield self._line(edge, start, end)

    def _line(self, edge: _Edge, start: int, end: int) -> Line:
        begin, finish = self._at(edge[0], start), self._at(edge[1], end)
        if edge not in self.lanes.around:
            passing = (self._at(edge, rank) for rank in range(start + 1, end))
            return Line((begin, *passing, finish))
        rows = self.lanes.rows[start : end + 1]
        side = self.left + max(max(row.values()) for row in rows) + _BULGE
        return Line((begin, (side, begin[1]), (side, finish[1]), finish), goes_around=True)

    def _at(self, item: int | _Edge, rank: int) -> Point:
        return self.left + self.lanes.rows[rank][item], rank - self.first + _BORDER
