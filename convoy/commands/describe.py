"""`convoy describe`: show the layers of a network."""

from __future__ import annotations

import sys

from convoy.commands.command_line import command
from convoy.commands.output_files import explain
from convoy.export.describing.describe_settings import DescribeSettings


@command(DescribeSettings)
def main(chosen: DescribeSettings) -> int:
    """Describe one network; return 1 after one line that says why, if it cannot be done."""
    # ONNX Runtime and PyTorch take seconds to import; `--help` does not wait for them.
    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.consoles import plain_console
    from convoy.export.describing import presentation
    from convoy.export.describing.describer import describe
    from convoy.export.describing.dot import save_graph
    from convoy.export.errors import ExportError

    try:
        description = describe(chosen)
        if chosen.graph:
            save_graph(description, chosen.graph)
    except (ExportError, ArtifactError, RepositoryError) as error:
        print(f"convoy describe: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"convoy describe: {explain(error)}", file=sys.stderr)
        return 1
    if chosen.print_json:
        print(presentation.to_json(description))
        return 0
    width = None if sys.stdout.isatty() else presentation.WIDEST  # a file takes any width
    presentation.print_table(description, plain_console(width=width))
    return 0
