"""The figure of a load test: latency against throughput, and the distribution of latency."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from convoy.commands.bench.load_results import PERCENTILES, Report, Step
from convoy.figures import style
from convoy.figures.families import SERIES
from convoy.figures.labels import Mark, label_ends, label_marks

_DRAWN = (50.0, 99.0)
_TICKS = (50.0, 90.0, 99.0, 99.9)
_TAIL = [p for p in PERCENTILES if 0 < p < 100]


def draw(report: Report, path: Path) -> None:
    """
    Draw *report*, as PNG or SVG by the name of *path*.

    Raises:
        OSError: If it cannot be written.
    """
    style.save(figure(report), path)


def figure(report: Report) -> Figure:
    """Return the figure of *report*, in which some request was answered."""
    made, (against, distribution), _ = style.frame(
        f"{report.model}: latency under load",
        [
            f"Measured {report.measured_at} at {report.address}, {report.server}. A request: "
            f"{report.input}; {report.connections} connections. Latency counts from the time when "
            "a request was due."
        ],
        ["p50 and p99 of each load", "percentiles of each load"],
    )
    steps = [step for step in report.steps if step.latency_ms]
    marks, ends = _add_loads(against, steps, report.batch_size), _add_tails(distribution, steps)
    for axes in (against, distribution):
        axes.set_ylabel("latency, ms")
        style.set_logarithmic(axes, y=True)
    label_marks(against, marks)
    label_ends(distribution, ends, [_shade(place) for place in range(len(ends))])
    return made


def _add_loads(axes: Axes, steps: list[Step], batch_size: int) -> list[Mark]:
    """Draw a dot for each load and percentile, joined in the order of the loads."""
    images_per_s = [step.answered_per_s * batch_size for step in steps]
    marks = []
    for percentile, color in zip(_DRAWN, SERIES, strict=False):
        latencies = [step.latency(percentile) for step in steps]
        axes.plot(images_per_s, latencies, "o-", color=color, ms=4)
        marks += [
            Mark(f"p{percentile:g}, {step.name}", x, y, 3)
            for step, x, y in zip(steps, images_per_s, latencies, strict=True)
        ]
    axes.set(xlabel="images answered per second", xlim=(0, 1.25 * max(images_per_s)))
    return marks


def _add_tails(axes: Axes, steps: list[Step]) -> list[Mark]:
    """Draw the percentiles of each load, with equal distances between 90, 99 and 99.9 %."""
    # At 1 / (1 - p), on a logarithmic axis, each further nine is one equal step.
    places = [1 / (1 - p / 100) for p in _TAIL]
    ends = []
    for number, step in enumerate(steps):
        latencies = [step.latency(p) for p in _TAIL]
        axes.plot(places, latencies, ".-", color=_shade(number))
        ends.append(Mark(step.name, places[-1], latencies[-1]))
    axes.set(xscale="log", xlabel="percentile")
    axes.set_xticks([1 / (1 - p / 100) for p in _TICKS], [f"{p:g} %" for p in _TICKS])
    axes.xaxis.set_minor_locator(NullLocator())
    return ends


def _shade(number: int) -> str:
    return SERIES[number % len(SERIES)]
