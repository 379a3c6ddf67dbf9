"""Phrases of the small print of several figures, and the balls whose area shows parameters."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from convoy.commands.compare.comparison_data import Machine
from convoy.figures.families import color
from convoy.figures.style import FAINT, INK, SMALL

OPERATIONS = "Operations: 2 x multiply-accumulates of convolutions and linear layers."

KEY_IN = 0.6
"""The height of the key of areas, in inches."""

_BALLS = (1, 10, 50, 100)
"""The millions of parameters that the key of areas shows."""


def measured_on(machine: Machine) -> str:
    """Return a line that describes the machine of the measurements."""
    return (
        f"Measured {machine.measured_at} on {machine.processor}, {machine.threads} threads, "
        f"ONNX Runtime {machine.onnxruntime}, {machine.provider}."
    )


def unit(largest: float) -> tuple[float, str]:
    """Return the unit in which *largest* is easy to read, and its name."""
    return (1e9, "billions") if largest >= 1e10 else (1e6, "millions")


def diameter(parameters: int) -> float:
    """Return the diameter of a ball, in points: large enough to see, its area by parameters."""
    return math.sqrt(12 + 14 * parameters / 1e6)


def add_ball(
    axes: Axes, x: float, y: float, size: float, architecture: str, *, hollow: bool = False
) -> None:
    """Draw a ball with a dot in its middle."""
    shade = color(architecture)
    inside = (shade, 0.08 if hollow else 0.35)
    # A ball whose middle is near the edge of the axes is not cut there.
    axes.plot(x, y, "o", ms=size, mfc=inside, mec=(shade, 0.9), mew=1, clip_on=False)
    axes.plot(x, y, ".", ms=3, color=INK, clip_on=False)


def add_key_of_balls(key: Axes) -> None:
    """Draw a ball for each of some numbers of parameters, side by side."""
    key.text(0, 0.5, "Area: parameters", va="center", fontsize=SMALL, color=FAINT)
    for place, millions in enumerate(_BALLS):
        x = 0.22 + 0.13 * place
        key.plot(x, 0.5, "o", ms=diameter(millions * 1_000_000), mfc="none", mec=FAINT)
        key.text(x + 0.035, 0.5, f"{millions} M", va="center", fontsize=SMALL, color=FAINT)
