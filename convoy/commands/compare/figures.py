"""The figures of a comparison, after Canziani, Paszke, Culurciello (arXiv:1605.07678).

Each figure states its sources: the kind of accuracy above the axes, the machine in the small print.
Accuracy measured here and accuracy published on ImageNet never share axes.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from convoy.commands.compare import accuracy
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


def draw_all(comparison: Comparison, folder: Path, suffix: str) -> list[Path]:
    """
    Write every figure that has data into *folder*, and return the paths.

    Raises:
        OSError: If one cannot be written.
    """
    paths = []
    for name, figure in figures(comparison).items():
        paths.append(folder / f"{name}.{suffix}")
        figure.savefig(paths[-1], dpi=_DPI)
    return paths


def figures(comparison: Comparison) -> dict[str, Figure]:
    """
    Return every figure that has data, by its name.

    If accuracy was measured on several data sets, operations and density show the first only.
    """
    measured, published = accuracy.measured(comparison), accuracy.published(comparison)
    # A figure without data is not drawn, rather than drawn empty.
    kinds = {"measured": measured[:1], "published": [published] if published.scores else []}
    found = {}
    if any(kinds.values()):
        found["top1_per_network"] = top1_per_network([*measured, *kinds["published"]])
    for name, series in ((name, one) for name, many in kinds.items() for one in many):
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
