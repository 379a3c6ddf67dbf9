"""Figures of time and memory."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convoy.commands.compare import theme
from convoy.commands.compare.comparison_data import Batch, Comparison, Network
from convoy.commands.compare.mark_labels import Mark, label_ends, label_marks

_MS = "ms per image, median"
_MEMORY = "MB: weights, and the most that a run needs beside them"

_DOT = 8.0
"""The diameter of a dot in points."""

_STYLES = ("-", "--", ":", "-.")
"""The line styles of one family, whose lines have one colour."""

Points = Sequence[tuple[Network, float, float]]


def time_against_batch(comparison: Comparison) -> Figure:
    """Draw the time for each image against the batch size."""
    return _lines(
        comparison, "Time per image against batch size", _MS, lambda _, batch: batch.ms_per_image
    )


def memory_against_batch(comparison: Comparison) -> Figure:
    """Draw the memory of the weights and of a run against the batch size."""
    return _lines(
        comparison,
        "Memory against batch size",
        _MEMORY,
        lambda network, batch: network.memory_bytes(batch) / 1e6,
    )


def memory_against_parameters(comparison: Comparison) -> Figure:
    """Draw the memory of the smallest batch against the parameters."""
    size = comparison.batch_sizes[0]
    made, (axes,) = theme.figure(
        "Memory against parameters",
        [theme.measured_on(comparison.machine)],
        [f"measured here, batches of {size}; dotted: 4 bytes for each parameter, nothing else"],
    )
    points = [
        (network, max(network.parameters, 1) / 1e6, network.memory_bytes(batch) / 1e6)
        for network in comparison.networks
        if (batch := network.batch(size))
    ]
    axes.set(xlabel="parameters (millions)", ylabel=_MEMORY)
    marks = _add_dots(axes, points, slope=4.0)
    theme.add_legend(made, [network.architecture for network, _, _ in points])
    label_marks(axes, marks)
    return made


def operations_against_time(comparison: Comparison) -> Figure:
    """Draw the time for each image against operations, for the smallest and largest batch."""
    known = [(network, network.macs) for network in comparison.networks if network.macs is not None]
    unit, unit_name = theme.unit(2 * max(macs for _, macs in known))
    points = {
        size: [
            (network, 2 * max(macs, 1) / unit, batch.ms_per_image)
            for network, macs in known
            if (batch := network.batch(size))
        ]
        for size in sorted({comparison.batch_sizes[0], comparison.batch_sizes[-1]})
    }
    slopes = [statistics.median(ms / count for _, count, ms in one) for one in points.values()]
    made, panels = theme.figure(
        "Time per image against operations",
        [f"{theme.measured_on(comparison.machine)} {theme.OPERATIONS}"],
        [
            f"measured here, batches of {size}; "
            f"dotted: the median, {unit / slope / 1e6:.3g} billion operations/s"
            for size, slope in zip(points, slopes, strict=True)
        ],
    )
    marks = []
    for axes, one, slope in zip(panels, points.values(), slopes, strict=True):
        axes.set(xlabel=f"operations for one image ({unit_name})", ylabel=_MS)
        marks.append(_add_dots(axes, one, slope))
    theme.add_legend(made, [network.architecture for network, _ in known])
    for axes, found in zip(panels, marks, strict=True):
        label_marks(axes, found)
    return made


def _add_dots(axes: Axes, points: Points, slope: float) -> list[Mark]:
    """Add dots on logarithmic axes and a dotted line y = *slope* x; return marks to label."""
    ends = [min(x for _, x, _ in points), max(x for _, x, _ in points)]
    axes.plot(ends, [slope * end for end in ends], ":", color=theme.FAINT, linewidth=1)
    for network, x, y in points:
        axes.plot(x, y, "o", ms=_DOT, mec="white", color=theme.color(network.architecture))
    theme.set_logarithmic(axes, x=True, y=True)
    axes.margins(0.12)
    return [Mark(network.name, x, y, _DOT / 2) for network, x, y in points]


def _lines(
    comparison: Comparison, title: str, unit: str, value: Callable[[Network, Batch], float]
) -> Figure:
    """Draw a line for each network against the batch size, with its name at the end."""
    made, (axes,) = theme.figure(title, [theme.measured_on(comparison.machine)], ["measured here"])
    ends, families = [], Counter[str]()
    for network in comparison.networks:
        family = theme.family(network.architecture)
        # Networks of one family share a colour, so that line styles tell them apart.
        style = _STYLES[families[family] % len(_STYLES)]
        families[family] += 1
        sizes = [batch.batch_size for batch in network.batches]
        values = [value(network, batch) for batch in network.batches]
        axes.plot(
            sizes, values, style, marker="o", ms=3, lw=1.3, color=theme.color(network.architecture)
        )
        ends.append(Mark(network.name, sizes[-1], values[-1]))
    axes.set(xlabel="images in a batch", ylabel=unit)
    theme.set_logarithmic(axes, x=True, y=True)
    axes.set_xticks(comparison.batch_sizes, map(str, comparison.batch_sizes))
    label_ends(axes, ends, [theme.color(network.architecture) for network in comparison.networks])
    return made
