"""`convoy evaluate`: measure how well models classify images whose classes are known."""

from __future__ import annotations

import sys

from convoy.commands.command_line import UsageError, command
from convoy.commands.evaluate.evaluate_settings import EvaluateSettings
from convoy.commands.output_files import explain


@command(EvaluateSettings)
def main(chosen: EvaluateSettings) -> int:
    """Measure, print and write; return 1 after one line that says why, if it cannot be done."""
    # ONNX Runtime and gRPC take a moment to import: --help and a wrong flag do not wait for them.
    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.commands.evaluate.evaluator import evaluate
    from convoy.export.errors import ExportError
    from convoy.results import ConvoyError

    try:
        evaluate(chosen)
    except (ArtifactError, RepositoryError, ExportError, ConvoyError, UsageError) as error:
        print(f"convoy evaluate: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"convoy evaluate: {explain(error)}", file=sys.stderr)
        return 1
    return 0
