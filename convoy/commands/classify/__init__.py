"""`convoy classify`: ask a server for the classes of image files."""

from __future__ import annotations

import sys

from convoy.commands.classify.classify_settings import ClassifySettings
from convoy.commands.command_line import UsageError, command


@command(ClassifySettings)
def main(chosen: ClassifySettings) -> int:
    """Classify and print; return 1 if any image failed."""
    # gRPC takes a moment to import: --help and a wrong flag do not wait for it.
    from convoy.commands.classify.classifying import classify, show
    from convoy.commands.output_files import explain
    from convoy.results import ConvoyError

    try:
        rows = classify(chosen)
    except (ConvoyError, UsageError) as error:
        print(f"convoy classify: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"convoy classify: {explain(error)}", file=sys.stderr)
        return 1
    show(rows, chosen)
    return int(any(row.answer is None for row in rows))
