"""A comparison as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

from bench.comparison.results import Comparison, Network

_COLUMNS: Mapping[str, Callable[[Network], str]] = {
    "model": lambda network: network.name,
    "px": lambda network: str(network.input_px),
    "top-1\nhere": lambda network: _share(network.top1),
    "top-1\nImageNet": lambda network: _share(network.published_top1),
    "params\nM": lambda network: f"{network.parameters / 1e6:.2f}",
    "ops\nM": lambda network: f"{2 * network.macs / 1e6:,.1f}",
    "ms/image\nfirst": lambda network: f"{network.batches[0].ms_per_image:.2f}",
    "ms/image\nbest": lambda network: f"{network.fastest.ms_per_image:.2f}",
    "at\nbatch": lambda network: str(network.fastest.batch_size),
    "weights\nMB": lambda network: f"{network.weights_bytes / 1e6:.1f}",
    "arena MB\nlast": lambda network: f"{network.batches[-1].arena_peak_bytes / 1e6:.1f}",
}


def print_table(comparison: Comparison, console: Console) -> None:
    """Print the networks, and under them what the numbers are about."""
    table = Table(*_COLUMNS)
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for network in comparison.networks:
        table.add_row(*(text(network) for text in _COLUMNS.values()))
    console.print(table)
    for line in notes(comparison):
        console.print(line, style="dim", markup=False)


def notes(comparison: Comparison) -> list[str]:
    """Where each kind of number comes from."""
    machine = comparison.machine
    data = {
        f"{found.data}, {found.images} images"
        for network in comparison.networks
        for found in network.accuracy
        if found.source == "measured"
    }
    sources = {network.published.source for network in comparison.networks if network.published}
    return [
        f"top-1 here: measured when the artifact was made: {'; '.join(sorted(data)) or 'nothing'}",
        "top-1 ImageNet: published, of other weights, one central crop of 50,000 photographs: "
        f"{'; '.join(sorted(sources)) or 'nothing'}",
        "ops: 2 x multiply-accumulates of one image of this input",
        f"time and memory: measured {machine.measured_at}, {machine.processor}, {machine.threads} "
        f"of {machine.cores} cores, ONNX Runtime {machine.onnxruntime}, {machine.provider}; "
        "first and last are the smallest and largest batch",
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
