"""The frame of every figure: size, title, panels, small print, axes; and how it is saved.

A figure is as wide as the text of the documentation, 880 px, and its smallest letters are 8 points
high, so that it is read without enlarging. SVG is preferred: its colours are exact at every size,
and the same data give the same file.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from convoy.artifact.whole_files import replacing

WIDTH_PX = 880
_WIDTH_IN = WIDTH_PX / 96
_DPI = 192
"""Twice the pixels of the page, for screens that have them."""

SMALL = 8.0
"""The smallest font size, in points: 10.7 px."""

_TEXT, _TITLE = 9.0, 13.0

INK, FAINT, GRID = "#222222", "#5c5c5c", "#e4e4e4"

_LETTERS_PER_INCH = 14.5
"""The letters of the smallest size in an inch."""


class Frame(NamedTuple):
    """
    An empty figure.

    Attributes:
        panels: The axes for data, in reading order.
        key: Axes without a frame below the panels; None unless asked for.
    """

    figure: Figure
    panels: list[Axes]
    key: Axes | None


def frame(
    title: str,
    caption: Sequence[str],
    panels: Sequence[str],
    *,
    columns: int = 2,
    panel_in: float = 4.4,
    key_in: float = 0.0,
) -> Frame:
    """
    Return a figure without data.

    Args:
        caption: Lines of small print, below: data set, machine, date, the meaning of intervals.
        panels: The titles of the panels.
        columns: The panels side by side, at most.
        panel_in: The height of a panel in inches, with its labels.
        key_in: The height of the space for a key, in inches.
    """
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    lines = [line for part in caption for line in textwrap.wrap(part, _letters(_WIDTH_IN))]
    height = rows * panel_in + key_in + 0.5 + 0.15 * len(lines)
    made = Figure(figsize=(_WIDTH_IN, height), layout="constrained")
    made.suptitle(title, x=0.01, ha="left", fontsize=_TITLE, fontweight="bold", color=INK)
    made.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=SMALL, color=FAINT)
    heights = [panel_in] * rows + [key_in] * (key_in > 0)
    grid = made.add_gridspec(len(heights), columns, height_ratios=heights)
    axes = [made.add_subplot(grid[divmod(place, columns)]) for place in range(len(panels))]
    for one, panel in zip(axes, panels, strict=True):
        wide = _letters(_WIDTH_IN / columns - 0.6)
        one.set_title("\n".join(textwrap.wrap(panel, wide)), loc="left", fontsize=SMALL, color=INK)
        _set_look(one)
    key = None
    if key_in:
        key = made.add_subplot(grid[-1, :])
        key.set(xlim=(0, 1), ylim=(0, 1))
        key.set_axis_off()
    return Frame(made, axes, key)


def _letters(inches: float) -> int:
    return int(_LETTERS_PER_INCH * inches)


def _set_look(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelsize=SMALL)
    axes.xaxis.label.set(color=INK, fontsize=_TEXT)
    axes.yaxis.label.set(color=INK, fontsize=_TEXT)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def set_logarithmic(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Scale axes that have their data by powers of ten, with ticks in plain figures."""
    for wanted, axis, name in ((x, axes.xaxis, "x"), (y, axes.yaxis, "y")):
        if wanted:
            low, high = axis.get_data_interval()
            axes.set(**{f"{name}scale": "log"})
            axis.set_major_locator(LogLocator(subs=_steps(high / low)))
            axis.set_major_formatter("{x:,g}")
            axis.set_minor_locator(NullLocator())


def _steps(ratio: float) -> tuple[int, ...]:
    """Return the ticks in each power of ten: as many as there is room for."""
    if ratio < 100:
        return (1, 2, 5)
    return (1, 3) if ratio < 1e4 else (1,)


def set_sizes(axes: Axes, sizes: Sequence[int]) -> None:
    """Put the ticks of a logarithmic horizontal axis at *sizes*: at the points, nowhere else."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())


def set_whole(axes: Axes) -> None:
    """Keep the ticks of the horizontal axis whole, for counts such as epochs."""
    # With at least two ticks, a single number would get one that is not whole.
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def save(made: Figure, path: Path) -> None:
    """
    Write a figure in place of the file at *path*, as SVG or PNG by its suffix.

    Raises:
        OSError: If it cannot be written.
    """
    with replacing(path) as half:
        write(made, half)


def write(made: Figure, path: Path) -> None:
    """
    Write a figure to *path*, as SVG or PNG by its suffix; the same figure gives the same bytes.

    Raises:
        OSError: If it cannot be written.
    """
    # Identifiers in an SVG have a random salt, and the date is added, unless matplotlib is told
    # otherwise. Letters remain text, which readers can search and select.
    with mpl.rc_context({"svg.hashsalt": "convoy", "svg.fonttype": "none"}):
        is_vector = path.suffix.lower() == ".svg"
        made.savefig(path, dpi=_DPI, metadata={"Date": None} if is_vector else {})
