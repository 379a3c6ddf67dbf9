"""Progress of a training: a bar and both curves on a terminal, a line for each epoch elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from convoy.export.training.epoch_log import Epoch, best_epoch
from convoy.export.training.trainer import Listener, Step

LINES = 6
"""Lines that a training of few epochs prints beside that of each epoch, without a terminal."""

_LEVELS = "▁▂▃▄▅▆▇█"
_WIDEST = 30
"""Epochs that a curve on the terminal shows, the last ones."""


@contextmanager
def shown(console: Console, epochs: int) -> Iterator[Listener]:
    """Yield the listener of a training of *epochs*, which prints to *console*."""
    # A bar that moves would fill a log file.
    if not console.is_terminal:
        yield _Lines(console, epochs)
        return
    display = _Display(epochs)
    with Live(display, console=console, refresh_per_second=4):
        yield display


class _Lines:
    """A line for each epoch, and a few between where epochs are long."""

    def __init__(self, console: Console, epochs: int) -> None:
        self._console, self._epochs = console, epochs

    def step(self, step: Step) -> None:
        is_due = step.done % max(1, step.total // LINES) == 0 or step.done == step.total
        if self._epochs < LINES and is_due:
            self._console.print(
                f"epoch {step.epoch}/{self._epochs}  {step.done / step.total:4.0%}"
                f"  loss {step.loss:.4f}  accuracy {step.accuracy:.4f}"
            )

    def epoch(self, epochs: Sequence[Epoch]) -> None:
        last = epochs[-1]
        line = (
            f"epoch {last.epoch}/{self._epochs}  loss {last.loss:.4f}  accuracy {last.accuracy:.4f}"
        )
        if last.validation_accuracy is not None:
            line += (
                f"  validation loss {last.validation_loss:.4f}  "
                f"accuracy {last.validation_accuracy:.4f}"
            )
            line += "  best" if best_epoch(epochs) is last else ""
        self._console.print(line)


class _Display:
    """A bar for the steps, and the curves of the epochs so far: a renderable of rich."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._curves = Text()
        self._bar = Progress(
            TextColumn("{task.description}"),
            TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.3f}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            BarColumn(),  # last, because a narrow terminal cuts it off
        )
        self._task = self._bar.add_task("training", total=None, loss=0.0, accuracy=0.0)

    def __rich__(self) -> Group:
        return Group(self._curves, self._bar)

    def step(self, step: Step) -> None:
        self._bar.update(
            self._task,
            description=f"epoch {step.epoch}/{self._epochs}",
            total=step.total,
            completed=step.done,
            loss=step.loss,
            accuracy=step.accuracy,
        )

    def epoch(self, epochs: Sequence[Epoch]) -> None:
        self._curves = curves(epochs)


def curves(epochs: Sequence[Epoch]) -> Text:
    """Return a line of loss and accuracy for training, and one for validation if there is any."""
    lines = [_line("training", [(epoch.loss, epoch.accuracy) for epoch in epochs])]
    validated = [
        (epoch.validation_loss, epoch.validation_accuracy)
        for epoch in epochs
        if epoch.validation_loss is not None and epoch.validation_accuracy is not None
    ]
    if validated:
        best = best_epoch(epochs).epoch
        lines.append(f"{_line('validation', validated)}  best: epoch {best}")
    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def _line(name: str, points: Sequence[tuple[float, float]]) -> str:
    losses, accuracies = zip(*points[-_WIDEST:], strict=True)
    return (
        f"{name:10}  loss {losses[-1]:.3f} {_sparkline(losses)}  "
        f"accuracy {accuracies[-1]:.3f} {_sparkline(accuracies)}"
    )


def _sparkline(values: Sequence[float]) -> str:
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    scale = (len(_LEVELS) - 1) / (high - low) if high > low else 0
    return "".join(
        _LEVELS[round((value - low) * scale)] if math.isfinite(value) else "?" for value in values
    )
