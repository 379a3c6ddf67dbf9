"""A comparison as figures: those of Canziani, Paszke, Culurciello (arXiv:1605.07678).

Each figure says in its title where its numbers come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.comparison.results import Batch, Comparison, Network

FAMILIES = ("lenet", "alexnet", "vgg", "nin", "googlenet", "inception", "resnet", "plain")
"""Each has a colour of its own, by a part of the architecture's name."""

Draw = Callable[[Axes, Comparison], None]


def draw_all(comparison: Comparison, folder: Path, suffix: str) -> list[Path]:
    """Draw every figure that there are numbers for; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in FIGURES.items():
        path = folder / f"{name}.{suffix}"
        make(draw, comparison).savefig(path, dpi=130)
        paths.append(path)
    return paths


def make(draw: Draw, comparison: Comparison) -> Figure:
    """One figure with a note of where time and memory were measured."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    draw(axes, comparison)
    axes.grid(alpha=0.25)
    machine = comparison.machine
    figure.supxlabel(
        f"{machine.processor}, {machine.threads} threads, ONNX Runtime {machine.onnxruntime}, "
        f"{machine.measured_at}",
        fontsize=7,
        color="0.4",
    )
    return figure


def top1_per_network(axes: Axes, comparison: Comparison) -> None:
    """Accuracy of each network: measured here, and published on ImageNet, side by side."""
    networks = sorted(comparison.networks, key=lambda network: network.top1 or 0)
    places = range(len(networks))
    here = [100 * (network.top1 or 0) for network in networks]
    elsewhere = [100 * (n.published.top1 if n.published else 0) for n in networks]
    bars = axes.barh(
        [place + 0.2 for place in places], here, 0.4, color=[colour(n) for n in networks]
    )
    axes.bar_label(bars, [f"{share:.1f}" if share else "" for share in here], fontsize=7)
    axes.barh(
        [place - 0.2 for place in places],
        elsewhere,
        0.4,
        color="0.85",
        label="published on ImageNet, other weights",
    )
    axes.set_yticks(places, [network.name for network in networks])
    axes.set(xlabel="top-1 (%)", xlim=(0, 105), title=f"Top-1, colour: {data_of(comparison)}")
    axes.legend(fontsize=8, loc="lower right")


def top1_against_operations(axes: Axes, comparison: Comparison) -> None:
    """The ball chart: accuracy against operations, the area being the parameters."""
    networks = [network for network in comparison.networks if network.top1 is not None]
    for network in networks:
        axes.scatter(
            2 * network.macs / 1e6,
            100 * (network.top1 or 0),
            s=area(network),
            color=colour(network),
            alpha=0.5,
        )
        axes.plot(2 * network.macs / 1e6, 100 * (network.top1 or 0), ".", color="0.3", ms=3)
    axes.set(
        xscale="log",
        xlabel="operations for one image (millions, 2 x multiply-accumulates)",
        ylabel="top-1 (%)",
        title=f"Top-1 against operations, area: parameters; {data_of(comparison)}",
    )
    axes.margins(0.15)
    label(axes, [(2 * n.macs / 1e6, 100 * (n.top1 or 0), n.name) for n in networks])


def time_against_batch(axes: Axes, comparison: Comparison) -> None:
    """Time for each image against the size of the batch."""
    _lines(axes, comparison, lambda _, batch: batch.ms_per_image)
    axes.set(ylabel="ms per image", title="Time per image, measured here")


def memory_against_batch(axes: Axes, comparison: Comparison) -> None:
    """Weights and the most memory that a run needs, against the size of the batch."""
    _lines(
        axes,
        comparison,
        lambda network, batch: (network.weights_bytes + batch.arena_peak_bytes) / 1e6,
    )
    axes.set(ylabel="MB, weights and arena", title="Memory against batch, measured here")


def memory_against_parameters(axes: Axes, comparison: Comparison) -> None:
    """Memory of the smallest batch against parameters."""
    points = [
        (
            network.parameters / 1e6,
            (network.weights_bytes + network.batches[0].arena_peak_bytes) / 1e6,
            network.name,
        )
        for network in comparison.networks
    ]
    _points(axes, comparison.networks, points)
    axes.set(
        xlabel="parameters (millions)",
        ylabel="MB, weights and arena",
        title="Memory of the smallest batch against parameters, measured here",
    )


def operations_against_time(axes: Axes, comparison: Comparison) -> None:
    """Time for each image, at best, against operations."""
    points = [
        (2 * network.macs / 1e6, network.fastest.ms_per_image, network.name)
        for network in comparison.networks
    ]
    _points(axes, comparison.networks, points)
    axes.set(
        xlabel="operations for one image (millions, 2 x multiply-accumulates)",
        ylabel="ms per image, best batch",
        title="Operations against time, measured here",
    )


def accuracy_density(axes: Axes, comparison: Comparison) -> None:
    """Points of accuracy for each million parameters."""
    networks = [network for network in comparison.networks if network.top1 is not None]
    networks.sort(key=density)
    bars = axes.barh(
        [n.name for n in networks],
        [density(n) for n in networks],
        color=[colour(n) for n in networks],
    )
    axes.bar_label(bars, [f" {density(n):.3g}" for n in networks], fontsize=8)
    axes.set(
        xscale="log",
        xlabel="top-1 (%) per million parameters",
        title=f"Accuracy density; {data_of(comparison)}",
    )


FIGURES: Mapping[str, Draw] = MappingProxyType(
    {
        draw.__name__: draw
        for draw in (
            top1_per_network,
            top1_against_operations,
            time_against_batch,
            memory_against_batch,
            memory_against_parameters,
            operations_against_time,
            accuracy_density,
        )
    }
)
"""Every figure, by the name of its file."""


def density(network: Network) -> float:
    """Percent of top-1 for each million parameters."""
    return 100 * (network.top1 or 0) / (network.parameters / 1e6)


def area(network: Network) -> float:
    """Area of a ball, in square points: its parameters, and no ball too small to see."""
    return 15 + 12 * network.parameters / 1e6


def colour(network: Network) -> str:
    """The colour of the network's family."""
    found = [i for i, family in enumerate(FAMILIES) if family in network.architecture]
    return f"C{found[-1]}" if found else "0.5"


def data_of(comparison: Comparison) -> str:
    """What accuracy was measured on here."""
    names = {
        f"measured on {found.data} ({found.images} images)"
        for network in comparison.networks
        for found in network.accuracy[:1]
        if found.source == "measured"
    }
    return "; ".join(sorted(names)) or "not measured"


_Places = tuple[tuple[int, int], ...]

_AROUND: _Places = ((7, 0), (7, 9), (7, -9), (-45, 9), (-45, -9), (7, 18), (7, -18), (-60, 0))
_RIGHT: _Places = ((7, 0), (75, 0), (7, 9), (75, 9), (7, -9), (75, -9))
"""Where a name may begin, from its point, in points; the first that is free is taken."""


def label(
    axes: Axes, points: Sequence[tuple[float, float, str]], places: _Places = _AROUND
) -> None:
    """Write each name beside its point, where it covers no name that is there already."""
    taken: list[tuple[float, float, float]] = []  # left, right, height, in points
    scale = 72 / axes.get_figure(root=True).dpi  # type: ignore[union-attr]
    for x, y, name in sorted(points, key=lambda point: -point[1]):
        left, height = (float(value) * scale for value in axes.transData.transform((x, y)))
        width = 5.0 * len(name)
        offset = next(
            (
                place
                for place in places
                if _is_free(left + place[0], width, height + place[1], taken)
            ),
            places[0],
        )
        taken.append((left + offset[0], left + offset[0] + width, height + offset[1]))
        axes.annotate(
            name, (x, y), xytext=offset, textcoords="offset points", fontsize=8, va="center"
        )


def _is_free(
    left: float, width: float, height: float, taken: Sequence[tuple[float, float, float]]
) -> bool:
    return all(
        left > right or left + width < start or abs(height - other) > 8
        for start, right, other in taken
    )


def _points(
    axes: Axes, networks: Sequence[Network], points: Sequence[tuple[float, float, str]]
) -> None:
    for network, (x, y, _) in zip(networks, points, strict=True):
        axes.scatter(x, y, s=area(network), color=colour(network), alpha=0.5)
    axes.set(xscale="log", yscale="log")
    axes.margins(0.15)
    label(axes, points)


def _lines(axes: Axes, comparison: Comparison, value: Callable[[Network, Batch], float]) -> None:
    """A line for each network against the size of the batch, its name at the end."""
    sizes = sorted({b.batch_size for network in comparison.networks for b in network.batches})
    ends = []
    for network in comparison.networks:
        at = [batch.batch_size for batch in network.batches]
        values = [value(network, batch) for batch in network.batches]
        axes.plot(at, values, "o-", ms=3, color=colour(network))
        ends.append((at[-1], values[-1], network.name))
    axes.set(xscale="log", yscale="log", xlabel="batch size")
    axes.set_xticks(sizes, map(str, sizes))
    axes.set_xticks([], minor=True)
    axes.set_xlim(sizes[0] * 0.9, sizes[-1] * 4)
    label(axes, ends, _RIGHT)
