"""`convoy serve`: serve the models of a repository."""

from __future__ import annotations

from convoy.commands.command_line import command
from convoy.service.settings import Settings


@command(Settings)
def main(chosen: Settings) -> int:
    """Serve until a signal arrives; return 1 if the server cannot start."""
    # The server takes a second to import: --help and a wrong flag do not wait for it.
    from convoy.service.process.main_process import run

    return run(chosen)
