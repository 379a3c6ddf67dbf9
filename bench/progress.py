"""Shows how far a measurement is: a bar on a terminal, a line for each turn elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bench.comparison import measuring


@contextmanager
def shown(console: Console) -> Iterator[measuring.Progress]:
    """Give the function that `measuring.measure` calls before each turn."""
    if not console.is_terminal:
        yield lambda turn, done, total: console.print(f"{done}/{total}  {turn}")
        return
    columns = (
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        BarColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda turn, done, total: progress.update(
            task, description=turn, completed=done, total=total
        )
