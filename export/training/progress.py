"""Progress of a training: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from convoy.export.training.trainer import Step

LINES = 6
"""Lines that a training prints where there is no terminal."""


@contextmanager
def shown(console: Console, epochs: int) -> Iterator[Callable[[Step], None]]:
    """Yield the function to call after each training step."""
    # A bar that moves would fill a log file.
    if not console.is_terminal:
        yield _line_printer(console, epochs)
        return
    columns = (
        TextColumn("{task.description}"),
        TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.3f}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        BarColumn(),  # last, because a narrow terminal cuts it off
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=None, loss=0.0, accuracy=0.0)

        def report(step: Step) -> None:
            progress.update(
                task,
                description=f"epoch {step.epoch}/{epochs}",
                total=step.total,
                completed=step.done,
                loss=step.loss,
                accuracy=step.accuracy,
            )

        yield report


def _line_printer(console: Console, epochs: int) -> Callable[[Step], None]:
    def report(step: Step) -> None:
        if step.done % max(1, step.total // LINES) == 0 or step.done == step.total:
            console.print(
                f"epoch {step.epoch}/{epochs}  {step.done / step.total:4.0%}"
                f"  loss {step.loss:.4f}  accuracy {step.accuracy:.4f}"
            )

    return report
