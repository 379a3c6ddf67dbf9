"""Labels for points and lines of a figure that do not cover each other.

Both functions need the final limits, scales and sizes of the axes: call them last.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox

from convoy.figures.style import FAINT, INK, SMALL

_HEIGHT = 11.0
"""The height of a line of the smallest letters, in points."""

_DISTANCES = (2.0, 8.0, 16.0, 26.0, 38.0, 52.0, 70.0)
_ANGLES = tuple(
    math.radians(degrees) for degrees in (0, 180, 30, -30, 150, -150, 60, -60, 120, -120, 90, -90)
)
"""The places for a name, from the edge of its mark; earlier ones are better."""


@dataclass(frozen=True, slots=True)
class Mark:
    """
    A point of a figure with a name.

    Attributes:
        radius: The radius of the mark in points.
    """

    name: str
    x: float
    y: float
    radius: float = 2.0


def label_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    """Write each name beside its mark, with a line to the mark if the name is farther away."""
    scale = _points_per_pixel(axes)
    frame = Bbox(axes.bbox.get_points() * scale)
    places = [
        (float(x) * scale, float(y) * scale)
        for x, y in axes.transData.transform([(mark.x, mark.y) for mark in marks])
    ]
    taken = [_box(x, y, 2 * _DISTANCES[0], 2 * _DISTANCES[0]) for x, y in places]
    # Large marks first: their names have the fewest places, and small marks can avoid them.
    for mark, (x, y) in sorted(zip(marks, places, strict=True), key=lambda one: -one[0].radius):
        box, distance = _best_place(mark, x, y, taken, frame)
        taken.append(box)
        axes.annotate(
            mark.name,
            (mark.x, mark.y),
            xytext=((box.x0 + box.x1) / 2 - x, (box.y0 + box.y1) / 2 - y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=SMALL,
            color=INK,
            arrowprops=_leader(mark.radius) if distance > _DISTANCES[0] else None,
        )


def label_ends(axes: Axes, ends: Sequence[Mark], colors: Sequence[str]) -> None:
    """Write each name to the right of the axes, near the height of its line's end."""
    scale = _points_per_pixel(axes)
    heights = [float(axes.transData.transform((end.x, end.y))[1]) * scale for end in ends]
    order = sorted(range(len(ends)), key=lambda index: heights[index])
    low, high = axes.bbox.y0 * scale, axes.bbox.y1 * scale
    spread = spread_out([heights[index] for index in order], _HEIGHT, low, high)
    for index, height in zip(order, spread, strict=True):
        axes.annotate(
            ends[index].name,
            (ends[index].x, ends[index].y),
            xytext=(1.04, (height - low) / (high - low)),
            textcoords="axes fraction",
            va="center",
            fontsize=SMALL,
            color=colors[index],
            arrowprops={**_leader(0), "color": colors[index], "relpos": (0, 0.5)},
        )


def spread_out(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """
    Move ascending *values* apart to distances of *gap*, or less if they would not all fit.

    Values that are too close become a block around their mean; blocks that meet become one.

    Args:
        low: The lower bound of the result.
        high: The upper bound of the result.
    """
    last = len(values) - 1
    # Too many for the space: all get the same smaller gap.
    gap = min(gap, (high - low) / max(1, last))
    blocks: list[tuple[float, int]] = []  # centre and count
    for value in values:
        centre, count = value, 1
        # Merge with blocks before, as long as the new block overlaps the last of them.
        while blocks and centre - blocks[-1][0] < gap * (count + blocks[-1][1]) / 2:
            before, others = blocks.pop()
            centre = (centre * count + before * others) / (count + others)
            count += others
        blocks.append((centre, count))
    spread = [
        centre + gap * (place - (count - 1) / 2)
        for centre, count in blocks
        for place in range(count)
    ]
    return [
        min(max(value, low + gap * place), high - gap * (last - place))
        for place, value in enumerate(spread)
    ]


def _best_place(
    mark: Mark, x: float, y: float, taken: Sequence[Bbox], frame: Bbox
) -> tuple[Bbox, float]:
    """Return the nearest box that covers nothing, or the one that covers least; its distance."""
    width = _width(mark.name)
    best, least = (frame, 0.0), math.inf
    for distance, angle in itertools.product(_DISTANCES, _ANGLES):
        reach = mark.radius + distance
        box = _box(
            x + math.cos(angle) * (reach + width / 2),
            y + math.sin(angle) * (reach + _HEIGHT / 2),
            width,
            _HEIGHT,
        )
        covered = sum(_overlap(box, other) for other in taken)
        # The part outside the frame counts as covered, too.
        covered += width * _HEIGHT - _overlap(box, frame)
        # Only a clearly better place replaces an earlier, nearer one.
        if covered < least - 1e-6:
            best, least = (box, distance), covered
    return best


def _width(name: str) -> float:
    """Return the width of a name in points."""
    return float(TextPath((0, 0), name, SMALL, FontProperties()).get_extents().width) + 2


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def _overlap(one: Bbox, other: Bbox) -> float:
    """Return the area that both boxes cover."""
    common = Bbox.intersection(one, other)
    return 0.0 if common is None else float(common.width * common.height)


def _leader(radius: float) -> dict[str, object]:
    return {
        "arrowstyle": "-",
        "color": FAINT,
        "linewidth": 0.6,
        "shrinkA": 0,
        "shrinkB": radius,
    }


def _points_per_pixel(axes: Axes) -> float:
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # lays it out
    return 72 / figure.dpi
