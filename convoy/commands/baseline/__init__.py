"""`convoy baseline`: measure what images and answers of a model look like, to notice drift."""

from __future__ import annotations

import sys

from convoy.commands.baseline.baseline_settings import BaselineSettings
from convoy.commands.command_line import UsageError, command
from convoy.commands.output_files import explain


@command(BaselineSettings)
def main(chosen: BaselineSettings) -> int:
    """Measure and write; return 1 after one line that says why, if it cannot be done."""
    # ONNX Runtime takes a moment to import: --help and a wrong flag do not wait for it.
    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.commands.baseline.baseline_maker import make_baseline
    from convoy.export.errors import ExportError

    try:
        print(make_baseline(chosen))
    except (ArtifactError, RepositoryError, ExportError, UsageError) as error:
        print(f"convoy baseline: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"convoy baseline: {explain(error)}", file=sys.stderr)
        return 1
    return 0
