"""Figures of time, memory and power."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convoy.commands.compare import captions
from convoy.commands.compare.comparison_data import Batch, Comparison, Network
from convoy.figures import style
from convoy.figures.families import color, family
from convoy.figures.labels import Mark, label_ends, label_marks

_MS = "ms per image, median"
_MEMORY = "MB: weights, and the most that a run needs beside them"
_SPREAD = "Bars: from the 10th to the 90th percentile of the runs."

_DOT = 8.0
"""The diameter of a dot in points."""

_STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
"""The line styles of one family, whose lines have one colour."""

Points = Sequence[tuple[Network, float, float]]

Spread = tuple[float, float]
"""The lower and the upper end of a bar."""


def time_against_batch(comparison: Comparison) -> Figure:
    """Draw the time for each image against the batch size, with its spread over the runs."""
    is_known = any(batch.ms_spread for network in comparison.networks for batch in network.batches)
    return _lines(
        comparison,
        "Time per image against batch size",
        _MS,
        lambda _, batch: batch.ms_per_image,
        spread=lambda batch: batch.ms_spread,
        caption=_SPREAD if is_known else "",
    )


def memory_against_batch(comparison: Comparison) -> Figure:
    """Draw the memory of the weights and of a run against the batch size."""
    return _lines(
        comparison,
        "Memory against batch size",
        _MEMORY,
        lambda network, batch: network.memory_bytes(batch) / 1e6,
    )


def power_against_batch(comparison: Comparison) -> Figure:
    """Draw the power of the processor against the batch size, where it was measured."""
    return _lines(
        comparison,
        "Power against batch size",
        "W, mean while the network ran",
        lambda _, batch: batch.watts,
        caption=f"Power: {comparison.machine.power_source}.",
    )


def memory_against_parameters(comparison: Comparison) -> Figure:
    """Draw the memory of the smallest batch against the parameters."""
    size = comparison.batch_sizes[0]
    made, (axes,), _ = style.frame(
        "Memory against parameters",
        [captions.measured_on(comparison.machine)],
        [f"measured here, batches of {size}; dotted: 4 bytes for each parameter, nothing else"],
    )
    points = [
        (network, max(network.parameters, 1) / 1e6, network.memory_bytes(batch) / 1e6)
        for network in comparison.networks
        if (batch := network.batch(size))
    ]
    axes.set(xlabel="parameters (millions)", ylabel=_MEMORY)
    label_marks(axes, _add_dots(axes, points, slope=4.0))
    return made


def operations_against_time(comparison: Comparison) -> Figure:
    """Draw the time for each image against operations, for the smallest and largest batch."""
    known = [(network, network.macs) for network in comparison.networks if network.macs is not None]
    unit, unit_name = captions.unit(2 * max(macs for _, macs in known))
    points = {
        size: [
            (network, 2 * max(macs, 1) / unit, batch.ms_per_image)
            for network, macs in known
            if (batch := network.batch(size))
        ]
        for size in sorted({comparison.batch_sizes[0], comparison.batch_sizes[-1]})
    }
    slopes = [statistics.median(ms / count for _, count, ms in one) for one in points.values()]
    made, panels, _ = style.frame(
        "Time per image against operations",
        [f"{captions.measured_on(comparison.machine)} {captions.OPERATIONS}"],
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
    for axes, found in zip(panels, marks, strict=True):
        label_marks(axes, found)
    return made


def _add_dots(axes: Axes, points: Points, slope: float) -> list[Mark]:
    """Add dots on logarithmic axes and a dotted line y = *slope* x; return marks to label."""
    ends = [min(x for _, x, _ in points), max(x for _, x, _ in points)]
    axes.plot(ends, [slope * end for end in ends], ":", color=style.FAINT, linewidth=1)
    for network, x, y in points:
        axes.plot(x, y, "o", ms=_DOT, mec="white", color=color(network.architecture))
    style.set_logarithmic(axes, x=True, y=True)
    axes.margins(0.12)
    return [Mark(network.name, x, y, _DOT / 2) for network, x, y in points]


def _lines(
    comparison: Comparison,
    title: str,
    unit: str,
    value: Callable[[Network, Batch], float | None],
    *,
    spread: Callable[[Batch], Spread | None] = lambda _: None,
    caption: str = "",
) -> Figure:
    """Draw a line for each network against the batch size, with its name at the end."""
    made, (axes,), _ = style.frame(
        title,
        [f"{captions.measured_on(comparison.machine)} {caption}".rstrip()],
        ["measured here"],
        panel_in=5.0,
    )
    ends, shades, families = [], [], Counter[str]()
    for network in comparison.networks:
        # Networks of one family share a colour, so that line styles tell them apart.
        look = _STYLES[families[family(network.architecture)] % len(_STYLES)]
        families[family(network.architecture)] += 1
        shade = color(network.architecture)
        points = [
            (batch, at) for batch in network.batches if (at := value(network, batch)) is not None
        ]
        if not points:
            continue
        sizes, values = [batch.batch_size for batch, _ in points], [at for _, at in points]
        axes.plot(sizes, values, linestyle=look, marker="o", ms=3, lw=1.3, color=shade)
        for batch, _ in points:
            if bar := spread(batch):
                axes.plot([batch.batch_size] * 2, bar, lw=3, color=(shade, 0.35))
        ends.append(Mark(network.name, sizes[-1], values[-1]))
        shades.append(shade)
    axes.set(xlabel="images in a batch", ylabel=unit)
    style.set_logarithmic(axes, y=True)
    style.set_sizes(axes, comparison.batch_sizes)
    label_ends(axes, ends, shades)
    return made
