"""Rows of text for a terminal, with the values that are the same in every row printed once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text


def print_rows(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], shareable: Collection[str] = ()
) -> None:
    """Print *rows* under *columns*; state once what is the same in all of *shareable*'s cells."""
    console = Console(emoji=False)
    shared = [
        index
        for index, column in enumerate(columns)
        if column.header in shareable and len({row[index] for row in rows}) == 1 < len(rows)
    ]
    if values := ", ".join(f"{columns[i].header} {rows[0][i]}" for i in shared):
        console.print(Text(f"in every row: {values}"))
    shown = [index for index in range(len(columns)) if index not in shared]
    table = Table(*(columns[i] for i in shown), box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(Text(row[i]) for i in shown))
    console.print(table)
