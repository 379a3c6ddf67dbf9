"""A comparison as a table, with notes on the source of each number below."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import Console

from convoy.commands.compare import accuracy
from convoy.commands.compare.accuracy import Score
from convoy.commands.compare.comparison_data import Batch, Comparison, Network
from convoy.commands.measurement.tables import print_numbers


def print_table(comparison: Comparison, console: Console) -> None:
    """Print a row for each model, and the notes."""
    scores = _measured(comparison) | _published(comparison)
    sources = accuracy.numbered(scores.values())
    columns = _columns(comparison, scores, sources)
    rows = ([text(network) for text in columns.values()] for network in comparison.networks)
    print_numbers(list(columns), rows, console)
    console.print()
    for line in (*notes(comparison), *(f"[{n}] {source}" for source, n in sources.items())):
        console.print(line)


def notes(comparison: Comparison) -> list[str]:
    """Return lines that explain the numbers and list the models that are missing."""
    machine = comparison.machine
    return [
        *comparison.notes,
        "params, ops: of the model as it is here; ops are 2 x multiply-accumulates for one image",
        "ms/image, memory: measured here; weights and the most that a run needs beside them",
        f"{machine.measured_at}, {machine.processor}, {machine.threads} threads on "
        f"{machine.cpus} CPUs, ONNX Runtime {machine.onnxruntime}, {machine.provider}",
        "top-1, measured: by the export, when it made the model",
        "top-1, published: on ImageNet, one central crop; of other weights, classes and sizes "
        "than here unless it says: these weights",
    ]


_Key = tuple[str, str]
"""A column and a model."""

_MEASURED, _PUBLISHED = "top-1 %\nmeasured", "top-1 %\npublished"


def _columns(
    comparison: Comparison, scores: Mapping[_Key, Score], sources: Mapping[str, int]
) -> Mapping[str, Callable[[Network], str]]:
    """Return the functions that give the text of a model's cell, by the head of the column."""
    first, last = comparison.batch_sizes[0], comparison.batch_sizes[-1]

    def score(column: str) -> Callable[[Network], str]:
        def text(network: Network) -> str:
            found = scores.get((column, network.name))
            return f"{100 * found.top1:.1f} [{sources[found.source]}]" if found else ""

        return text

    def of_batch(size: int, text: Callable[[Network, Batch], str]) -> Callable[[Network], str]:
        return lambda network: text(network, batch) if (batch := network.batch(size)) else ""

    return {
        "\nmodel": lambda network: network.name,
        "\npx": lambda network: str(network.input_px),
        _MEASURED: score(_MEASURED),
        _PUBLISHED: score(_PUBLISHED),
        "params\nM": lambda network: f"{network.parameters / 1e6:.2f}",
        "ops\nM": _operations,
        f"ms/image\nbatch {first}": of_batch(first, lambda _, batch: _ms(batch)),
        "ms/image\nbest": lambda network: (
            f"{_ms(network.fastest)} at {network.fastest.batch_size:2}"
        ),
        f"memory MB\nbatch {first}": of_batch(first, _megabytes),
        f"memory MB\nbatch {last}": of_batch(last, _megabytes),
    }


def _measured(comparison: Comparison) -> dict[_Key, Score]:
    """Return an accuracy for each model, preferably on the data of most models."""
    found: dict[_Key, Score] = {}
    for series in accuracy.measured(comparison):
        for score in series.scores:
            # The series of most models comes first, and keeps the cell.
            found.setdefault((_MEASURED, score.name), score)
    return found


def _published(comparison: Comparison) -> dict[_Key, Score]:
    return {
        (_PUBLISHED, network.name): score
        for network in comparison.networks
        if (score := accuracy.published_of(network))
    }


def _operations(network: Network) -> str:
    return "not counted" if network.macs is None else f"{2 * network.macs / 1e6:,.1f}"


def _ms(batch: Batch) -> str:
    # LeNet-5 takes microseconds and VGG-19 a second: three digits for both.
    return f"{batch.ms_per_image:.2f}" if batch.ms_per_image >= 1 else f"{batch.ms_per_image:.3f}"


def _megabytes(network: Network, batch: Batch) -> str:
    return f"{network.memory_bytes(batch) / 1e6:,.1f}"
