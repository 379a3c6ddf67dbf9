"""The figure of a load test: latency against throughput, and the distribution of latency."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from convoy.artifact.whole_files import replacing
from convoy.commands.bench.load_results import PERCENTILES, Report

_DRAWN = ((50.0, "#0072b2"), (99.0, "#d55e00"))
_TICKS = (50.0, 90.0, 99.0, 99.9)
_TAIL = [p for p in PERCENTILES if 0 < p < 100]


def draw(report: Report, path: Path) -> None:
    """
    Draw *report*, as PNG or SVG by the name of *path*.

    Raises:
        OSError: If it cannot be written.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle(f"{report.model}, {report.server}", x=0.01, ha="left", fontweight="bold")
    caption = (
        f"{report.measured_at}, {report.address}; a request: {report.input}; "
        f"{report.connections} connections"
    )
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=7.5, color="#666666")
    against, distribution = figure.subplots(1, 2)
    _draw_against_throughput(against, report)
    _draw_distribution(distribution, report)
    for axes in (against, distribution):
        axes.set(yscale="log", ylabel="latency, ms")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(color="#e4e4e4", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1, 1))
    with replacing(path) as half:
        figure.savefig(half, dpi=150)


def _draw_against_throughput(axes: Axes, report: Report) -> None:
    """Draw a dot for each load, with its name, joined in the order of the loads."""
    steps = [step for step in report.steps if step.latency_ms]
    images_per_s = [step.answered_per_s * report.batch_size for step in steps]
    for percentile, color in _DRAWN:
        latencies = [step.latency(percentile) for step in steps]
        axes.plot(images_per_s, latencies, "o-", color=color, label=f"p{percentile:g}", ms=4)
    for step, x in zip(steps, images_per_s, strict=True):
        at = (x, step.latency(_DRAWN[-1][0]))
        axes.annotate(step.name, at, (0, 6), textcoords="offset points", fontsize=7.5, ha="center")
    axes.set(xlabel="images answered per second", xlim=(0, None), title="Latency by throughput")


def _draw_distribution(axes: Axes, report: Report) -> None:
    """Draw the percentiles of each load, with equal distances between 90, 99 and 99.9 %."""
    # At 1 / (1 - p), on a logarithmic axis, each further nine is one equal step.
    for step in report.steps:
        if step.latency_ms:
            latencies = [step.latency(p) for p in _TAIL]
            axes.plot([1 / (1 - p / 100) for p in _TAIL], latencies, ".-", label=step.name)
    axes.set(xscale="log", xlabel="percentile", title="Distribution")
    axes.set_xticks([1 / (1 - p / 100) for p in _TICKS], [f"{p:g} %" for p in _TICKS])
    axes.xaxis.set_minor_locator(NullLocator())
