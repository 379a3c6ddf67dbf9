"""The results of a zoo: `docs/explanation/zoo.json`, a table and curves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.zoo.training import Zoo
from bench.zoo.zoo_figures import Measured
from convoy.commands.measurement.intervals import wilson
from convoy.export.training.learning_curves import draw_curves

Row = Mapping[str, Any]
"""One network's figures, by their names in `docs/explanation/zoo.json`."""

TEST_IMAGES = 1000
"""Number of plain test digits, and of hard ones."""

MARKS = "<!-- zoo -->", "<!-- end of zoo -->"
"""The marks around the table in the page."""


def row(zoo: Zoo, name: str, measured: Measured) -> Row:
    """Return the row of one network in `docs/explanation/zoo.json`."""
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
        "trained_on": manifest.training.device,
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
        "throughput_batch_1": _rounded(measured.one_per_s),
        "throughput_best": _rounded(measured.best_per_s),
        "memory_bytes": manifest.memory.weights_bytes + manifest.memory.arena_peak_bytes,
        "memory_weights_bytes": manifest.memory.weights_bytes,
        "memory_arena_bytes": manifest.memory.arena_peak_bytes,
        "memory_batch_size": manifest.memory.batch_size,
    }


def add(rows: Sequence[Row], path: Path) -> None:
    """Keep *rows* in the file at *path*, in place of those of the same networks and seeds."""
    before: list[Row] = json.loads(path.read_text()) if path.exists() else []
    # New rows replace those of the same network and seed; the order of the table stays.
    known = {(row["name"], row["seed"]): row for row in [*before, *rows]}
    order = [*dict.fromkeys(row["name"] for row in [*before, *rows])]
    kept = sorted(known.values(), key=lambda row: (row["seed"], order.index(row["name"])))
    path.write_text(json.dumps(kept, indent=2) + "\n")


def write(path: Path, page: Path) -> None:
    """Write a table of the file at *path* between the marks of *page*."""
    page.write_text(written(json.loads(path.read_text()), page.read_text()))


def written(rows: Sequence[Row], text: str) -> str:
    """Return the *text* of a page with a table of *rows* between its marks."""
    begin, end = MARKS
    table = "\n".join([begin, "", *_table(rows), "", end])
    return re.sub(f"{begin}.*{end}", lambda _: table, text, flags=re.DOTALL)


def draw(zoo: Zoo, names: Sequence[str], path: Path) -> None:
    """Draw the training curves of *names* together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_curves({name: zoo.epochs(name) for name in names}, path)


def _table(rows: Sequence[Row]) -> list[str]:
    """Return a line for each network, of its first seed; other seeds stand beside it."""
    columns: Mapping[str, Callable[[Row], str]] = {
        "network": lambda row: f"`{row['name']}`",
        "px": lambda row: str(row["input_px"]),
        "epochs": lambda row: str(row["epochs"]),
        "trained in": _time,
        "hard digits": lambda row: _share(row, "accuracy_hard"),
        "plain digits": lambda row: _share(row, "accuracy"),
        "another seed: hard, plain": lambda row: _others(row, rows),
        "parameters": lambda row: f"{row['parameters'] / 1e6:,.2f} M",
        "MACs": lambda row: f"{row['macs'] / 1e6:,.1f} M",
        "one at a time": lambda row: _rate(row["throughput_batch_1"]),
        "best": lambda row: _rate(row["throughput_best"]),
        "memory": lambda row: f"{row['memory_bytes'] / 1e6:,.0f} MB",
    }
    # Rows are sorted by seed, so the last to be written here is the lowest seed.
    first = {row["name"]: row for row in reversed(rows)}
    lines = [list(columns), ["---"] * len(columns)]
    lines += [
        [column(row) for column in columns.values()] for row in rows if row is first[row["name"]]
    ]
    return [f"| {' | '.join(line)} |" for line in lines]


def _others(first: Row, rows: Sequence[Row]) -> str:
    others = [row for row in rows if row["name"] == first["name"] and row is not first]
    return "; ".join(f"{row['accuracy_hard']:.3f}, {row['accuracy']:.3f}" for row in others)


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:,.0f}/s"


def _time(row: Row) -> str:
    where = "" if row["trained_on"] == "cpu" else f", {row['trained_on']}"
    return f"{row['seconds']:,} s{where}"


def _share(row: Row, key: str) -> str:
    low, high = row[f"{key}_interval"]
    return f"{row[key]:.3f} ({low:.3f}-{high:.3f})"
