"""`convoy compare`: measure the models of a repository against each other."""

from __future__ import annotations

import signal
import sys

from convoy.commands.command_line import command
from convoy.commands.compare.compare_settings import CompareSettings
from convoy.commands.output_files import explain


@command(CompareSettings)
def main(chosen: CompareSettings) -> int:
    """
    Measure, print and write; print one line and return 1 if there is nothing to compare.

    After an interruption, print and write the results so far, and return 130.
    """
    # ONNX Runtime takes a second to import: --help and a wrong flag do not wait for it.
    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.commands.compare.comparer import compare
    from convoy.commands.compare.comparison_data import ComparisonError

    # Containers are stopped with SIGTERM; handle it like Ctrl-C, and keep what was measured.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return compare(chosen)
    except (ArtifactError, RepositoryError, ComparisonError) as error:
        print(f"convoy compare: {error}", file=sys.stderr)
    except OSError as error:
        print(f"convoy compare: {explain(error)}", file=sys.stderr)
    return 1
