"""Reads a command's settings from its arguments and the environment."""

from __future__ import annotations

import sys
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliApp

S = TypeVar("S", bound=BaseSettings)


def read(settings: type[S], arguments: list[str]) -> S:
    """
    Make *settings* from flags, `CONVOY_*` variables and defaults, in this order of weight.

    A value out of range ends the program with exit code 2 and one line per problem, as an
    unknown flag does.
    """
    try:
        return CliApp.run(settings, cli_args=arguments)
    except ValidationError as error:
        command = settings.model_config.get("cli_prog_name")
        for problem in error.errors(include_url=False):
            name = str(problem["loc"][0]) if problem["loc"] else ""
            where = f"--{name.replace('_', '-')} or CONVOY_{name.upper()}: " if name else ""
            print(f"{command}: {where}{problem['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
