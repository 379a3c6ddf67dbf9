"""The settings that a command would run with."""

from __future__ import annotations

from typing import TypeVar

from convoy.commands.command_line import command
from convoy.options import Options

S = TypeVar("S", bound=Options)


def read(settings: type[S], arguments: list[str]) -> S:
    """
    Read *arguments* and the environment, as a command with these *settings* does.

    Raises:
        click.UsageError: If they are not valid.
    """
    read: list[S] = []

    def run(chosen: S) -> int:
        read.append(chosen)
        return 0

    made = command(settings)(run)
    with made.make_context("convoy", list(arguments)) as context:
        made.invoke(context)
    return read[0]
