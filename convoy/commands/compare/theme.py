"""The common style of the figures of a comparison: colours, frames, captions, legends."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from convoy.commands.compare.comparison_data import Machine

# Okabe and Ito's colours, which the colour-blind can tell apart.
FAMILIES: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {
        "LeNet": (("lenet",), "#56b4e9"),
        "AlexNet": (("alexnet",), "#e69f00"),
        "VGG": (("vgg",), "#009e73"),
        "NIN": (("nin",), "#cc79a7"),
        "GoogLeNet, Inception": (("googlenet", "inception"), "#0072b2"),
        "Plain": (("plain",), "#7f7f7f"),
        "ResNet": (("resnet",), "#d55e00"),
    }
)
"""Prefixes of a part of an architecture's name, and the colour; the first match counts."""

OTHER = "other"
_OTHER_COLOR = "#000000"

_BALLS = (1, 10, 50, 100)
"""The millions of parameters that the legend of areas shows."""

SMALL = 8.0
"""The font size of numbers at marks."""

OPERATIONS = "Operations: 2 x multiply-accumulates of convolutions and linear layers."

_LEGEND: Mapping[str, Any] = MappingProxyType(
    {"frameon": False, "fontsize": 8.5, "title_fontsize": 8.5, "alignment": "left"}
)

_LETTERS_PER_INCH = 17
"""The letters in an inch of small print."""

INK, FAINT, _GRID = "#222222", "#666666", "#e4e4e4"


def family(architecture: str) -> str:
    """Return the family to which an architecture belongs, by its name."""
    parts = architecture.lower().split("_")
    return next(
        (
            name
            for name, (starts, _) in FAMILIES.items()
            if any(p.startswith(starts) for p in parts)
        ),
        OTHER,
    )


def color(architecture: str) -> str:
    """Return the colour of an architecture's family."""
    found = FAMILIES.get(family(architecture))
    return found[1] if found else _OTHER_COLOR


def diameter(parameters: int) -> float:
    """Return the diameter of a ball, in points: large enough to see, its area by parameters."""
    return math.sqrt(12 + 14 * parameters / 1e6)


def figure(title: str, caption: Sequence[str], panels: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """
    Return an empty figure and its axes, side by side.

    Args:
        caption: Lines of small print, below.
        panels: The titles of the axes.
    """
    made = Figure(figsize=(4.6 + 4.6 * len(panels), 6.2), layout="constrained")
    made.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    wide = int(_LETTERS_PER_INCH * made.get_figwidth())
    lines = [line for part in caption for line in textwrap.wrap(part, wide)]
    made.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7.5, color=FAINT)
    axes = list(made.subplots(1, len(panels), squeeze=False)[0])
    for one, panel in zip(axes, panels, strict=True):
        one.set_title(panel, loc="left", fontsize=9.5, color=INK)
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(FAINT)
        one.tick_params(colors=FAINT, labelsize=8.5)
        one.xaxis.label.set(color=INK, fontsize=9.5)
        one.yaxis.label.set(color=INK, fontsize=9.5)
        one.grid(color=_GRID, linewidth=0.7)
        one.set_axisbelow(True)
    return made, axes


def measured_on(machine: Machine) -> str:
    """Return a line that describes the machine of the measurements."""
    return (
        f"Measured {machine.measured_at} on {machine.processor}, {machine.threads} threads, "
        f"ONNX Runtime {machine.onnxruntime}, {machine.provider}."
    )


def unit(largest: float) -> tuple[float, str]:
    """Return the unit in which *largest* is easy to read, and its name."""
    return (1e9, "billions") if largest >= 1e10 else (1e6, "millions")


def set_logarithmic(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Scale axes that have their data by powers of ten, with ticks in plain figures."""
    for wanted, axis, name in ((x, axes.xaxis, "x"), (y, axes.yaxis, "y")):
        if wanted:
            # Four decades or more leave no room for ticks between powers of ten.
            low, high = axis.get_data_interval()
            axes.set(**{f"{name}scale": "log"})
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1e4 else (1,)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())


def add_ball(
    axes: Axes, x: float, y: float, size: float, architecture: str, *, hollow: bool = False
) -> None:
    """Draw a ball with a dot in its middle."""
    shade = color(architecture)
    axes.plot(x, y, "o", ms=size, mfc=(shade, 0.08 if hollow else 0.35), mec=(shade, 0.9), mew=1)
    axes.plot(x, y, ".", ms=3, color=INK)


def add_legend(made: Figure, architectures: Iterable[str], *, balls: bool = False) -> None:
    """Add legends to the right of the axes: the families, and the area of the balls."""
    there = {family(architecture) for architecture in architectures}
    colors = {name: shade for name, (_, shade) in FAMILIES.items()} | {OTHER: _OTHER_COLOR}
    families = [_handle(name, color=shade) for name, shade in colors.items() if name in there]
    made.legend(handles=families, loc="outside right upper", **_LEGEND)
    if balls:
        sizes = [
            _handle(f"{millions} M", ms=diameter(millions * 1_000_000), mfc="none", mec=FAINT)
            for millions in _BALLS
        ]
        made.legend(
            handles=sizes,
            loc="outside right center",
            title="parameters",
            labelspacing=2.4,
            handletextpad=2.4,
            borderpad=2.4,
            **_LEGEND,
        )


def _handle(label: str, **look: Any) -> Line2D:
    return Line2D([], [], marker="o", linestyle="", label=label, **look)
