"""A comparison as a table, with notes on the source of each number below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from convoy.commands.compare import accuracy
from convoy.commands.compare.accuracy import Score, Series
from convoy.commands.compare.comparison_data import Batch, Comparison, Network
from convoy.commands.measurement.tables import print_numbers


def print_table(comparison: Comparison, console: Console) -> None:
    """Print a row for each model, and the notes."""
    measured = accuracy.measured(comparison)
    published = _published(comparison)
    scores = [score for column in published.values() for score in column.values()]
    sources = accuracy.numbered([*(series.scores[0] for series in measured), *scores])
    columns = _columns(comparison, measured, published, sources)
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
        f"W: {machine.power_source}"
        if machine.power_source
        else "power: not measured; this machine has no counter of energy (RAPL) that this user may "
        "read",
        "top-1: each column holds accuracies on the same images; measured by the export, when it "
        "made the model, or by convoy evaluate",
        "top-1, published: of these weights, on ImageNet, one central crop; architecture: the same "
        "of other weights, with other classes and sizes than here",
    ]


_OWN, _OTHERS = "top-1 %\npublished", "top-1 %\narchitecture"

_Text = Callable[[Network], str]


def _columns(
    comparison: Comparison,
    measured: Sequence[Series],
    published: Mapping[str, Mapping[str, Score]],
    sources: Mapping[str, int],
) -> Mapping[str, _Text]:
    """Return the functions that give the text of a model's cell, by the head of the column."""
    first, last = comparison.batch_sizes[0], comparison.batch_sizes[-1]

    def on_one_set(series: Series) -> _Text:
        by_name = {score.name: f"{100 * score.top1:.1f}" for score in series.scores}
        return lambda network: by_name.get(network.name, "")

    def with_source(scores: Mapping[str, Score]) -> _Text:
        def text(network: Network) -> str:
            found = scores.get(network.name)
            return f"{100 * found.top1:.1f} [{sources[found.source]}]" if found else ""

        return text

    def of_batch(size: int, text: Callable[[Network, Batch], str]) -> Callable[[Network], str]:
        return lambda network: text(network, batch) if (batch := network.batch(size)) else ""

    return {
        "\nmodel": lambda network: network.name,
        "\npx": lambda network: str(network.input_px),
        **{f"top-1 %\n[{sources[series.title]}]": on_one_set(series) for series in measured},
        **{head: with_source(scores) for head, scores in published.items() if scores},
        "params\nM": lambda network: f"{network.parameters / 1e6:.2f}",
        "ops\nM": _operations,
        f"ms/image\nbatch {first}": of_batch(first, lambda _, batch: _ms(batch)),
        "ms/image\nbest": lambda network: (
            f"{_ms(network.fastest)} at {network.fastest.batch_size:2}"
        ),
        f"memory MB\nbatch {first}": of_batch(first, _megabytes),
        f"memory MB\nbatch {last}": of_batch(last, _megabytes),
        **({f"W\nbatch {last}": of_batch(last, _watts)} if comparison.machine.power_source else {}),
    }


def _published(comparison: Comparison) -> dict[str, dict[str, Score]]:
    """Return the accuracies published on ImageNet, by the head of their column and the model."""
    own = {
        score.name: score
        for series in accuracy.published(comparison)
        if series.title == accuracy.ON_IMAGENET
        for score in series.scores
        if score.of_these_weights
    }
    others = {
        network.name: score
        for network in comparison.networks
        if network.name not in own and (score := accuracy.published_of_others(network))
    }
    return {_OWN: own, _OTHERS: others}


def _operations(network: Network) -> str:
    return "not counted" if network.macs is None else f"{2 * network.macs / 1e6:,.1f}"


def _ms(batch: Batch) -> str:
    # LeNet-5 takes microseconds and VGG-19 a second: three digits for both.
    return f"{batch.ms_per_image:.2f}" if batch.ms_per_image >= 1 else f"{batch.ms_per_image:.3f}"


def _watts(_: Network, batch: Batch) -> str:
    return "" if batch.watts is None else f"{batch.watts:.1f}"


def _megabytes(network: Network, batch: Batch) -> str:
    return f"{network.memory_bytes(batch) / 1e6:,.1f}"
