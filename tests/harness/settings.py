"""The settings that a command would run with."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from convoy.commands.command_line import OptionsCommand, command
from convoy.options import Options

S = TypeVar("S", bound=Options)

_read: list[Options] = []


def read(settings: type[S], arguments: list[str]) -> S:
    """
    Read *arguments* and the environment, as a command with these *settings* does.

    Raises:
        click.UsageError: If they are not valid.
    """
    made = _command(settings)
    with made.make_context("convoy", list(arguments)) as context:
        made.invoke(context)
    found = _read.pop()
    assert isinstance(found, settings)
    return found


@cache
def _command(settings: type[Options]) -> OptionsCommand[Options]:
    def run(chosen: Options) -> int:
        _read.append(chosen)
        return 0

    return command(settings)(run)
