"""The results of a zoo: `zoo.json` and a table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.zoo.training import Zoo
from bench.zoo.zoo_measurement import Measured
from convoy.artifact.estimates import wilson

Row = Mapping[str, Any]
"""One network's figures, by their names in `zoo.json`.

Accuracies on hard digits have names of their own, beside those on plain digits; accuracies on any
other data set have the names of the latter.
"""

MARKS = "<!-- zoo -->", "<!-- end of zoo -->"
"""The marks around the table in the page."""


def row(zoo: Zoo, name: str, measured: Measured) -> Row:
    """Return the row of one network in `zoo.json`."""
    manifest, epochs = zoo.manifest(name), zoo.epochs(name)
    assert manifest is not None
    assert manifest.training is not None
    assert manifest.memory is not None
    return {
        "name": name,
        "input_px": manifest.input.height,
        "epochs": len(epochs),
        "seconds": round(sum(epoch.seconds for epoch in epochs)),
        "trained_on": manifest.training.device,
        "seed": manifest.training.seed,
        **_accuracies(measured),
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


def _accuracies(measured: Measured) -> Row:
    if measured.correct_plain is None:
        return _accuracy("accuracy", measured.correct, measured.images)
    return {
        **_accuracy("accuracy", measured.correct_plain, measured.images),
        **_accuracy("accuracy_hard", measured.correct, measured.images),
    }


def _accuracy(key: str, correct: int, images: int) -> Row:
    interval = [round(bound, 4) for bound in wilson(correct, images)]
    return {key: correct / images, f"{key}_interval": interval, f"{key}_images": images}


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
    # Only that of the digits is part of the documentation.
    before = page.read_text() if page.exists() else "\n".join([*MARKS, ""])
    page.write_text(written(json.loads(path.read_text()), before))


def written(rows: Sequence[Row], text: str) -> str:
    """Return the *text* of a page with a table of *rows* between its marks."""
    begin, end = MARKS
    table = "\n".join([begin, "", *_table(rows), "", end])
    return re.sub(f"{begin}.*{end}", lambda _: table, text, flags=re.DOTALL)


def _table(rows: Sequence[Row]) -> list[str]:
    """Return a line for each network, of its first seed; other seeds stand beside it."""
    accuracies: dict[str, Callable[[Row], str]] = {
        "hard digits": lambda row: _share(row, "accuracy_hard"),
        "plain digits": lambda row: _share(row, "accuracy"),
        "another seed: hard, plain": lambda row: _others(row, rows, "accuracy_hard", "accuracy"),
    }
    if "accuracy_hard" not in rows[0]:
        accuracies = {
            "test": lambda row: _share(row, "accuracy"),
            "another seed": lambda row: _others(row, rows, "accuracy"),
        }
    columns: Mapping[str, Callable[[Row], str]] = {
        "network": lambda row: f"`{row['name']}`",
        "px": lambda row: str(row["input_px"]),
        "epochs": lambda row: str(row["epochs"]),
        "trained in": _time,
        **accuracies,
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


def _others(first: Row, rows: Sequence[Row], *keys: str) -> str:
    others = [row for row in rows if row["name"] == first["name"] and row is not first]
    return "; ".join(", ".join(f"{row[key]:.3f}" for key in keys) for row in others)


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
