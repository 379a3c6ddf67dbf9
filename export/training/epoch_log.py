"""The measurements of a training, epoch by epoch, and their file. Needs no PyTorch."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

METRICS_FILE = "metrics.csv"

RULE = "the highest validation accuracy; of equal ones the lowest validation loss, then the first"
"""The choice of the epoch whose weights are exported, in words; `best_epoch` makes it."""


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
        validation_loss: Mean cross-entropy on the validation images, if there are any.
        validation_accuracy: Share of them answered right.
    """

    epoch: int
    seconds: float
    learning_rate: float
    loss: float
    accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


def best_epoch(epochs: Sequence[Epoch]) -> Epoch:
    """Return the best of *epochs*, at least one, by `RULE`; the last if none was validated."""

    def rank(epoch: Epoch) -> tuple[float, float]:
        assert epoch.validation_loss is not None
        assert epoch.validation_accuracy is not None
        # A loss that is no number would compare as neither better nor worse.
        loss = epoch.validation_loss if math.isfinite(epoch.validation_loss) else math.inf
        return epoch.validation_accuracy, -loss

    validated = [epoch for epoch in epochs if epoch.validation_accuracy is not None]
    return max(validated, key=rank) if validated else epochs[-1]


def epochs_without_progress(epochs: Sequence[Epoch]) -> int:
    """Return the number of epochs since the best one."""
    return epochs[-1].epoch - best_epoch(epochs).epoch


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
