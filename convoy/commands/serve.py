"""`convoy serve`: serve the models of a repository."""

from __future__ import annotations

from convoy.commands import command_line
from convoy.service.settings import Settings


def main(arguments: list[str]) -> int:
    """Serve until a signal arrives; return 1 if the server cannot start."""
    chosen = command_line.read(Settings, arguments)

    # The server takes a second to import: --help and a wrong flag do not wait for it.
    from convoy.service.process import run

    return run(chosen)
