"""Shows how far a measurement is: a bar on a terminal, a line for each turn elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

Progress = Callable[[str, int, int], None]
"""Told before each turn: which one comes, how many are done, of how many."""


@contextmanager
def shown(console: Console) -> Iterator[Progress]:
    """Give the function that a measurement calls before each turn."""
    if not console.is_terminal:
        yield lambda turn, done, total: console.print(f"{done}/{total}  {turn}")
        return
    columns = (
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        BarColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda turn, done, total: bar.update(
            task, description=turn, completed=done, total=total
        )
