"""`convoy describe`: show the layers of a network."""

from __future__ import annotations

import sys

from convoy.commands import command_line
from convoy.export.describing.describe_settings import DescribeSettings


def main(arguments: list[str]) -> int:
    """Describe one network; 1 if it cannot be done, with one line that says why."""
    chosen = command_line.read(DescribeSettings, arguments)

    # ONNX Runtime, and PyTorch if it is needed, take seconds to import: `--help` need not wait.
    from rich.console import Console

    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.export.describing import printing
    from convoy.export.describing.describer import describe
    from convoy.export.errors import ExportError

    try:
        description = describe(chosen)
        if chosen.graph:
            from convoy.export.describing.drawing import draw

            draw(description, chosen.graph)
    except (ExportError, ArtifactError, RepositoryError) as error:
        print(f"convoy describe: {error}", file=sys.stderr)
        return 1
    if chosen.print_json:
        print(printing.to_json(description))
        return 0
    width = None if sys.stdout.isatty() else printing.WIDEST  # a file takes any width
    printing.print_table(description, Console(highlight=False, markup=False, width=width))
    return 0
