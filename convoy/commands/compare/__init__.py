"""`convoy compare`: the models of a repository against each other."""

from __future__ import annotations

import signal
import sys

from convoy.commands import command_line
from convoy.commands.compare.compare_settings import CompareSettings


def main(arguments: list[str]) -> int:
    """
    Measure, print, write; 1 if there is nothing to compare, with one line that says why.

    When it is interrupted, what there is by then gets printed and written, and it is 130.
    """
    chosen = command_line.read(CompareSettings, arguments)

    # ONNX Runtime takes a second to import: `--help` and a typing mistake need not wait for it.
    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.commands.compare.comparer import compare
    from convoy.commands.compare.comparison_data import ComparisonError

    # Whoever stops a container sends SIGTERM: end as by Ctrl-C, with what was measured so far.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return compare(chosen)
    except (ArtifactError, RepositoryError, ComparisonError) as error:
        print(f"convoy compare: {error}", file=sys.stderr)
    except OSError as error:
        print(f"convoy compare: {error.filename}: {error.strerror}", file=sys.stderr)
    return 1
