"""The figures of a comparison, after Canziani, Paszke, Culurciello (arXiv:1605.07678).

Each figure states its sources: the kind of accuracy above the axes, the machine in the small print.
Accuracy measured here and accuracy published on ImageNet never share axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from convoy.artifact.whole_files import replacing
from convoy.commands.compare import accuracy
from convoy.commands.compare.accuracy import Series
from convoy.commands.compare.accuracy_figures import (
    accuracy_density,
    top1_against_operations,
    top1_per_network,
)
from convoy.commands.compare.comparison_data import Comparison
from convoy.commands.compare.cost_figures import (
    memory_against_batch,
    memory_against_parameters,
    operations_against_time,
    time_against_batch,
)

_DPI = 150


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
        with replacing(paths[-1]) as half:
            figure.savefig(half, dpi=_DPI)
    return paths


def figures(comparison: Comparison) -> dict[str, Figure]:
    """
    Return every figure that has data, by its name.

    Accuracies on several data sets have a figure each: `..._measured`, `..._measured_2` and so on.
    """
    kinds = {"measured": accuracy.measured(comparison), "published": accuracy.published(comparison)}
    # A figure without data is not drawn, rather than drawn empty.
    found = {}
    if any(kinds.values()):
        found["top1_per_network"] = top1_per_network([*kinds["measured"], *kinds["published"]])
    for name, series in _named(kinds):
        if any(score.operations is not None for score in series.scores):
            found[f"top1_against_operations_{name}"] = top1_against_operations(series)
        found[f"accuracy_density_{name}"] = accuracy_density(series)
    for draw in (
        time_against_batch,
        memory_against_batch,
        memory_against_parameters,
    ):
        found[draw.__name__] = draw(comparison)
    if any(network.macs is not None for network in comparison.networks):
        found["operations_against_time"] = operations_against_time(comparison)
    return found
