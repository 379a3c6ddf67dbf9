"""The figure of a tuning: throughput against latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convoy.artifact.tuning import Choice, Machine, Tuning
from convoy.commands.tune.trials import WAITED_RUNS, request_p99_ms
from convoy.figures import style
from convoy.figures.families import SERIES
from convoy.figures.labels import Mark, label_marks

_READING = (
    "Numbers at the points: images in a batch. p99: of a request under full load, which waits for "
    "one run and then runs. Bars: its lowest and highest value in the rounds."
)

_KEY_COLUMNS = 3


def draw(title: str, tuning: Tuning, path: Path) -> None:
    """
    Draw *tuning*, as PNG or SVG by the name of *path*.

    Raises:
        OSError: If it cannot be written.
    """
    style.save(figure(title, tuning), path)


def figure(title: str, tuning: Tuning) -> Figure:
    """Return the figure of *tuning*: a line for each runtime and number of threads."""
    lines: dict[str, list[Choice]] = {}
    for choice in tuning.measured:
        lines.setdefault(_name(tuning.machine, choice), []).append(choice)
    rows = math.ceil(len(lines) / _KEY_COLUMNS)
    made, (axes,), key = style.frame(
        f"{title}: images per second against latency",
        [_READING, _conditions(tuning)],
        [f"ring: chosen; dotted: the bound, {tuning.p99_ms:g} ms"],
        key_in=0.25 * rows,
    )
    marks: list[Mark] = []
    assert key
    for place, (name, line) in enumerate(lines.items()):
        color = SERIES[place % len(SERIES)]
        marks += _add_line(axes, line, color)
        row, column = divmod(place, _KEY_COLUMNS)
        at = column / _KEY_COLUMNS, 1 - (row + 0.8) / rows
        key.text(*at, name, color=color, fontsize=style.SMALL)
    axes.plot(*_point(tuning.chosen), "o", ms=12, mfc="none", mec=style.INK)
    axes.axvline(tuning.p99_ms, color=style.FAINT, linestyle=":")
    axes.set(xlabel="p99 of a request, ms", ylabel="images per second")
    axes.margins(0.08)
    axes.set_ylim(0, 1.1 * max(choice.images_per_s for line in lines.values() for choice in line))
    style.set_logarithmic(axes, x=True)
    label_marks(axes, marks)
    return made


def _add_line(axes: Axes, line: Sequence[Choice], color: str) -> list[Mark]:
    """Add one line with the spread of its p99; return its batch sizes as marks."""
    points = [_point(choice) for choice in line]
    axes.plot(*zip(*points, strict=True), "o-", color=color, ms=4, lw=1.3)
    for choice in line:
        if choice.run_p99_spread_ms:
            ends = [WAITED_RUNS * end for end in choice.run_p99_spread_ms]
            axes.plot(ends, [choice.images_per_s] * 2, lw=4, color=(color, 0.3))
    sizes = [str(choice.batch_size) for choice in line]
    return [Mark(name, x, y, 3) for name, (x, y) in zip(sizes, points, strict=True)]


def _point(choice: Choice) -> tuple[float, float]:
    return request_p99_ms(choice), choice.images_per_s


def _name(machine: Machine, choice: Choice) -> str:
    if machine.gpu:  # the number of threads has no meaning there
        return "one run at a time"
    runs = _many(machine.runs_at_once(choice.threads), "run")
    return f"{choice.runtime}, {runs} of {_many(choice.threads, 'thread')}"


def _conditions(tuning: Tuning) -> str:
    """Return the date and the machine of the measurement."""
    machine = tuning.machine
    place = f"{machine.processor}, {_many(machine.cores, 'core')}, "
    place += f"{machine.device}, " if machine.gpu else ""
    return f"Measured {tuning.made_at:%Y-%m-%d} on {place}ONNX Runtime {machine.onnxruntime}."


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}"
