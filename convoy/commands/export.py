"""`convoy export`: train a network and write it as an artifact."""

from __future__ import annotations

import signal
import sys

from convoy.commands.command_line import command
from convoy.export.export_settings import ExportSettings


@command(ExportSettings)
def main(chosen: ExportSettings) -> int:
    """Export one network; return 1 after one line that says why, if it cannot be done."""
    # PyTorch takes seconds to import; `--help` and a typing mistake do not wait for it.
    from convoy.artifact.errors import RepositoryError
    from convoy.consoles import plain_console
    from convoy.export.errors import ExportError
    from convoy.export.exporter import export

    # Containers are stopped with SIGTERM; handle it like Ctrl-C, so that nothing is half-written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        export(chosen, plain_console(soft_wrap=True))
    except (ExportError, RepositoryError) as error:
        print(f"convoy export: {error}", file=sys.stderr)
        return 1
    return 0
