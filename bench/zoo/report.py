"""Writes what a zoo measured: `docs/zoo.json`, and tables and curves for people."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.intervals import wilson
from bench.zoo.measuring import Measured
from bench.zoo.training import Zoo
from export.curves import draw_curves

Row = Mapping[str, Any]
"""One network's figures, by their names in `docs/zoo.json`."""

TEST_IMAGES = 1000
"""Plain digits to test on, and hard ones."""

MARKS = "<!-- zoo -->", "<!-- end of zoo -->"
"""Around the table in the page."""


def row(zoo: Zoo, name: str, measured: Measured) -> Row:
    """Everything of one network, as `docs/zoo.json` has it."""
    manifest, epochs = zoo.manifest(name), zoo.epochs(name)
    assert manifest is not None
    assert manifest.training is not None
    assert manifest.memory is not None
    low, high = wilson(measured.correct_plain, TEST_IMAGES)
    hard_low, hard_high = wilson(measured.correct_hard, TEST_IMAGES)
    return {
        "name": name,
        "input_px": manifest.input.height,
        "epochs": len(epochs),
        "seconds": round(sum(epoch.seconds for epoch in epochs)),
        "seed": manifest.training.seed,
        "accuracy": measured.correct_plain / TEST_IMAGES,
        "accuracy_interval": [round(low, 4), round(high, 4)],
        "accuracy_images": TEST_IMAGES,
        "accuracy_hard": measured.correct_hard / TEST_IMAGES,
        "accuracy_hard_interval": [round(hard_low, 4), round(hard_high, 4)],
        "accuracy_hard_images": TEST_IMAGES,
        "training_loss": round(epochs[-1].loss, 4),
        "training_accuracy": round(epochs[-1].accuracy, 4),
        "parameters": manifest.parameter_count,
        "macs": manifest.macs,
        "throughput_batch_1": round(measured.one_per_s, 1),
        "throughput_best": round(measured.best_per_s, 1),
        "memory_bytes": manifest.memory.weights_bytes + manifest.memory.arena_peak_bytes,
        "memory_weights_bytes": manifest.memory.weights_bytes,
        "memory_arena_bytes": manifest.memory.arena_peak_bytes,
        "memory_batch_size": manifest.memory.batch_size,
    }


def write(rows: Sequence[Row], json_path: Path, page: Path) -> None:
    """Write *rows* to *json_path*, and a table of them between the marks of *page*."""
    json_path.write_text(json.dumps(rows, indent=2) + "\n")
    begin, end = MARKS
    text = page.read_text()
    table = "\n".join([begin, "", *_table(rows), "", end])
    page.write_text(re.sub(f"{begin}.*{end}", lambda _: table, text, flags=re.DOTALL))


def draw(zoo: Zoo, names: Sequence[str], path: Path) -> None:
    """Draw the training curves of *names* together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_curves({name: zoo.epochs(name) for name in names}, path)


def _table(rows: Sequence[Row]) -> list[str]:
    columns: Mapping[str, Callable[[Row], str]] = {
        "network": lambda row: f"`{row['name']}`",
        "px": lambda row: str(row["input_px"]),
        "epochs": lambda row: str(row["epochs"]),
        "trained in": lambda row: f"{row['seconds']:,} s",
        "hard digits": lambda row: _share(row, "accuracy_hard"),
        "plain digits": lambda row: _share(row, "accuracy"),
        "parameters": lambda row: f"{row['parameters'] / 1e6:,.2f} M",
        "MACs": lambda row: f"{row['macs'] / 1e6:,.1f} M",
        "one at a time": lambda row: f"{row['throughput_batch_1']:,.0f}/s",
        "best": lambda row: f"{row['throughput_best']:,.0f}/s",
        "memory": lambda row: f"{row['memory_bytes'] / 1e6:,.0f} MB",
    }
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[column(row) for column in columns.values()] for row in rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _share(row: Row, key: str) -> str:
    low, high = row[f"{key}_interval"]
    return f"{row[key]:.3f} ({low:.3f}-{high:.3f})"
