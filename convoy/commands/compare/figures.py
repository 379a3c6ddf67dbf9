"""The figures of a comparison, after Canziani, Paszke, Culurciello (arXiv:1605.07678).

Each figure states its sources: the kind of accuracy above the axes, the machine in the small print.
Accuracy measured here and accuracy published on ImageNet never share axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from convoy.commands.compare import accuracy
from convoy.commands.compare.accuracy import Series
from convoy.commands.compare.accuracy_figures import (
    accuracy_density,
    top1_against_operations,
    top1_against_speed,
    top1_per_network,
)
from convoy.commands.compare.comparison_data import Comparison
from convoy.commands.compare.cost_figures import (
    memory_against_batch,
    memory_against_parameters,
    operations_against_time,
    power_against_batch,
    time_against_batch,
)
from convoy.figures import style


def _named(kinds: Mapping[str, list[Series]]) -> Iterator[tuple[str, Series]]:
    """Yield each series with a name of its own."""
    for kind, many in kinds.items():
        for number, series in enumerate(many, start=1):
            yield (kind if number == 1 else f"{kind}_{number}"), series


def draw_all(comparison: Comparison, folder: Path, suffix: str) -> list[Path]:
    """
    Write every figure that has data into *folder*, and return the paths.

    Raises:
        OSError: If one cannot be written.
    """
    paths = []
    for name, figure in figures(comparison).items():
        paths.append(folder / f"{name}.{suffix}")
        style.save(figure, paths[-1])
    return paths


def figures(comparison: Comparison) -> dict[str, Figure]:
    """
    Return every figure that has data, by its name.

    Accuracies on several data sets have a figure each: `..._measured`, `..._measured_2` and so on.
    """
    return of_accuracy(comparison) | of_cost(comparison)


def of_accuracy(comparison: Comparison) -> dict[str, Figure]:
    """Return the figures of accuracy, for which nothing is measured, by their names."""
    kinds = _kinds(comparison)
    # A figure without data is not drawn, rather than drawn empty.
    found = {}
    if any(kinds.values()):
        found["top1_per_network"] = top1_per_network([*kinds["measured"], *kinds["published"]])
    for name, series in _named(kinds):
        if any(score.operations is not None for score in series.scores):
            found[f"top1_against_operations_{name}"] = top1_against_operations(series)
        found[f"accuracy_density_{name}"] = accuracy_density(series)
    return found


def of_cost(comparison: Comparison) -> dict[str, Figure]:
    """Return the figures of time, memory and power, by their names."""
    found = {
        f"top1_against_speed_{name}": top1_against_speed(comparison, series)
        for name, series in _named(_kinds(comparison))
        if any(score.of_these_weights for score in series.scores)
    }
    for draw in (time_against_batch, memory_against_batch, memory_against_parameters):
        found[draw.__name__] = draw(comparison)
    if comparison.machine.power_source:
        found["power_against_batch"] = power_against_batch(comparison)
    if any(network.macs is not None for network in comparison.networks):
        found["operations_against_time"] = operations_against_time(comparison)
    return found


def _kinds(comparison: Comparison) -> dict[str, list[Series]]:
    return {"measured": accuracy.measured(comparison), "published": accuracy.published(comparison)}
