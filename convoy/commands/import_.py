"""`convoy import`: make an artifact of an ONNX classifier that was trained elsewhere."""

from __future__ import annotations

import signal
import sys

from convoy.commands.command_line import command
from convoy.export.importing.import_settings import ImportSettings


@command(ImportSettings)
def main(chosen: ImportSettings) -> int:
    """Import one file; return 1 after one line that says why, if it cannot be done."""
    # ONNX and its runtime take a moment to import; `--help` does not wait for them.
    from convoy.artifact.errors import RepositoryError
    from convoy.consoles import plain_console
    from convoy.export.errors import ExportError
    from convoy.export.importing.importer import import_model

    # Containers are stopped with SIGTERM; handle it like Ctrl-C, so that nothing is half-written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        import_model(chosen, plain_console(soft_wrap=True))
    except (ExportError, RepositoryError) as error:
        print(f"convoy import: {error}", file=sys.stderr)
        return 1
    return 0
