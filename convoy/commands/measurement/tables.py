"""Tables of numbers. A console that is too narrow wraps the rows; no number is cut off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

_WIDEST = 10_000


def print_numbers(columns: Sequence[str], rows: Iterable[Iterable[str]], console: Console) -> None:
    """Print *rows*, whose first column is a name and whose others are numbers."""
    name, *numbers = columns
    table = Table(
        Column(name, no_wrap=True),
        *(Column(number, justify="right", no_wrap=True) for number in numbers),
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    if _width(table, console) > console.width:  # narrower gaps may suffice
        table.padding = (0, 1, 0, 0)
    # Still too wide: let the terminal wrap the rows, as rich would cut the numbers off.
    console.width = max(console.width, _width(table, console))
    console.print(table)


def _width(table: Table, console: Console) -> int:
    options = console.options.update(width=_WIDEST)
    return Measurement.get(console, options, table).maximum
