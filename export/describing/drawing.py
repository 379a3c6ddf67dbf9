"""Draws a description: a box per layer, coloured by its kind, and what reads what."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Route

from convoy.artifact.layers import CONVOLUTION, LINEAR, Description, Layer
from convoy.export.describing.placing import Box, Line, Point, place
from convoy.export.describing.printing import short_name, size, window
from convoy.export.errors import ExportError

_SUFFIXES = (".png", ".svg")

# In inches.
_LANE, _ROW, _TITLE = 1.85, 0.7, 0.55
_BOX_WIDTH, _BOX_HEIGHT = 1.66, 0.47
_LINE_HEIGHT, _NARROWEST = 0.135, 3.4

_DPI = 120
_FONT_SIZE, _LETTERS = 7.0, 26
"""Points, and letters of this size that fit into a box."""

_INK, _FAINT, _AROUND, _OTHER = "#2b2b2b", "#707070", "#c0504d", "#ededed"
_COLORS = {
    CONVOLUTION: "#cfe0f2",
    LINEAR: "#dcd3ec",
    **dict.fromkeys(("max pool", "avg pool", "global avg pool"), "#d5ead0"),
    **dict.fromkeys(("bn", "lrn"), "#fdf0c4"),
    **dict.fromkeys(("add", "concat"), "#fbdcc4"),
}


def draw(description: Description, path: Path) -> None:
    """
    Write the drawing as a PNG or SVG file.

    Raises:
        ExportError: If the file's name ends otherwise, or it cannot be written.
    """
    if path.suffix not in _SUFFIXES:
        raise ExportError(f"{path}: a drawing is a file *{' or *'.join(_SUFFIXES)}")
    drawing = place(description.layers, _LANE / _ROW)
    width, height = drawing.width * _LANE, drawing.height * _ROW + _TITLE
    margin = max(0, _NARROWEST - width) / 2
    figure = Figure(figsize=(width + 2 * margin, height), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(-margin, width + margin), ylim=(height, 0))
    axes.text(width / 2, _TITLE / 2, _title(description), ha="center", va="center", size=9)
    for line in drawing.lines:
        _add_line(axes, line)
    for box in drawing.boxes:
        _add_box(axes, box, description.layers[box.layer])
    try:
        figure.savefig(path)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from error


def _title(description: Description) -> str:
    return f"{description.name}\n{description.parameters:,} parameters, {description.macs:,} MACs"


def _inches(point: Point) -> Point:
    return point[0] * _LANE, point[1] * _ROW + _TITLE


def _add_box(axes: Axes, box: Box, layer: Layer) -> None:
    x, y = _inches(box.at)
    axes.add_patch(
        FancyBboxPatch(
            (x - _BOX_WIDTH / 2, y - _BOX_HEIGHT / 2),
            _BOX_WIDTH,
            _BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor="white" if box.is_repeated else _COLORS.get(layer.kind, _OTHER),
            edgecolor=_INK,
            linestyle="dashed" if box.is_repeated else "solid",
            linewidth=0.7,
        )
    )
    operation = f"{layer.kind} {window(layer.window)}" if layer.window else layer.kind
    output = " +".join((size(layer.output_shape), *layer.then))
    _add_text(axes, x, y - _LINE_HEIGHT, short_name(layer), _FAINT)
    _add_text(axes, x, y, operation, _INK, weight="bold")
    _add_text(axes, x, y + _LINE_HEIGHT, output, _INK)


def _add_text(
    axes: Axes, x: float, y: float, text: str, color: str, weight: str = "normal"
) -> None:
    """Write one line into a box, smaller where it would not fit."""
    points = _FONT_SIZE * min(1, _LETTERS / len(text))
    axes.text(
        x, y, text, ha="center", va="center_baseline", size=points, color=color, weight=weight
    )


def _add_line(axes: Axes, line: Line) -> None:
    axes.add_patch(
        FancyArrowPatch(
            path=Route(_aside(line.points) if line.goes_around else _down(line.points)),
            arrowstyle="-|>",
            mutation_scale=7,
            linewidth=0.9,
            color=_AROUND if line.goes_around else _INK,
            zorder=0.5,
            joinstyle="round",
        )
    )


def _aside(points: tuple[Point, ...]) -> list[Point]:
    """Points of a line that leaves a box at its side, below the middle, and enters one above it."""
    (left, top), (side, _), _, (_, bottom) = map(_inches, points)
    left, top, bottom = left + _BOX_WIDTH / 2, top + _BOX_HEIGHT / 4, bottom - _BOX_HEIGHT / 4
    return [(left, top), (side, top), (side, bottom), (left, bottom)]


def _down(points: tuple[Point, ...]) -> list[Point]:
    """Points of a line that leaves a box below, enters one above, and runs straight past rows."""
    (first, *passing, last), half = map(_inches, points), _BOX_HEIGHT / 2
    lanes = [(x, y + side) for x, y in passing for side in (-half, half)]
    return [(first[0], first[1] + half), *lanes, (last[0], last[1] - half)]
