"""`convoy compare`: the models of a repository against each other."""

from __future__ import annotations

import sys

from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from artifact.errors import RepositoryError
from bench.comparison import measuring, table
from bench.comparison.results import Comparison
from bench.comparison.settings import CompareSettings
from convoy.commands import settings
from service.errors import ModelLoadError


def main(arguments: list[str]) -> int:
    """Measure, print, write; 1 if there is nothing to compare, with one line that says why."""
    chosen = settings.read(CompareSettings, arguments)
    try:
        comparison = _comparison(chosen)
    except (RepositoryError, ModelLoadError, OSError, ValidationError) as error:
        print(f"convoy compare: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    if not comparison.networks:
        return 130
    if chosen.json_file is not None:
        chosen.json_file.write_text(comparison.model_dump_json(indent=2) + "\n")
    console = Console()
    # Into a pipe or a file the table goes whole.
    table.print_table(comparison, console if console.is_terminal else Console(width=200))
    if chosen.figures is not None:
        from bench.comparison.figures import draw_all  # matplotlib takes a second

        for path in draw_all(comparison, chosen.figures, chosen.format):
            print(path)
    return 0


def _comparison(chosen: CompareSettings) -> Comparison:
    if chosen.from_file is not None:
        return Comparison.model_validate_json(chosen.from_file.read_text())
    artifacts = measuring.find(chosen)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)

        def show(name: str, done: int, total: int) -> None:
            progress.update(task, description=name, completed=done, total=total)

        return measuring.measure(artifacts, chosen, show)
