"""Progress of a measurement: a bar on a terminal, a line for each turn elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

Progress = Callable[[str, int, int], None]
"""Called before each turn with its name, the number of turns done, and the number of all."""


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """Yield the function that a measurement calls before each turn."""
    if not console.is_terminal:
        # A log or a pipe: a bar would be a heap of control characters there.
        yield lambda turn, done, total: console.print(f"{done}/{total}  {turn}")
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
        TextColumn("left"),
        BarColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda turn, done, total: bar.update(
            task, description=turn, completed=done, total=total
        )
