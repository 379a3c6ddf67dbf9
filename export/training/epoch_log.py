"""The measurements of a training, epoch by epoch, and their file. Needs no PyTorch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

METRICS_FILE = "metrics.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """
    The measurements of one epoch.

    Attributes:
        epoch: From 1.
        seconds: Duration.
        learning_rate: At its end.
        loss: Mean loss on the training images, as they were distorted.
        accuracy: Share of them answered right.
        validation_loss: Mean cross-entropy on the validation images, where they are watched.
        validation_accuracy: Share of them answered right.
    """

    epoch: int
    seconds: float
    learning_rate: float
    loss: float
    accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


def write_metrics(epochs: Sequence[Epoch], path: Path) -> None:
    """Write *epochs*, at least one, as CSV."""
    with path.open("w", newline="") as file:
        names = [field.name for field in fields(Epoch)]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in epochs)


def read_metrics(path: Path) -> list[Epoch]:
    """Read the file that `write_metrics` wrote."""
    with path.open(newline="") as file:
        return [_epoch(row) for row in csv.DictReader(file)]


def _epoch(row: dict[str, str]) -> Epoch:
    numbers = {name: float(text) for name, text in row.items() if text}
    return Epoch(epoch=int(numbers.pop("epoch")), **numbers)
