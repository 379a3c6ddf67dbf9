"""Settings of a command, read from its arguments and the environment."""

from __future__ import annotations

import sys
from typing import Any, TypeVar, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, CliApp, SettingsError

S = TypeVar("S", bound=BaseSettings)


class UsageError(Exception):
    """An error in the arguments that only the command itself can find; the message is one line."""


def read(settings: type[S], arguments: list[str]) -> S:
    """
    Return *settings* as flags, `CONVOY_*` variables and defaults give them, in this order.

    Raises:
        SystemExit: With exit code 2, after one line per problem, if a value is out of range, as
            for an unknown flag.
    """
    try:
        # Unknown flags and --help end the program inside this call, with exit codes 2 and 0.
        return CliApp.run(settings, cli_args=arguments)
    except ValidationError as error:
        command = settings.model_config.get("cli_prog_name")
        for problem in error.errors(include_url=False):
            print(f"{command}: {_described(settings, problem)}", file=sys.stderr)
        raise SystemExit(2) from None
    # A list or a map whose parts cannot be told apart; the library names its field.
    except SettingsError as error:
        print(f"{settings.model_config.get('cli_prog_name')}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _described(settings: type[BaseSettings], problem: ErrorDetails) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    # A problem of several settings together has no location: its message names them.
    if not problem["loc"]:
        return message
    name, *keys = map(str, problem["loc"])
    # Of a map, also name the key. Other fields have the alternatives of a type in its place.
    field = settings.model_fields.get(name)  # none for an alias
    is_map = field is not None and get_origin(field.annotation) is dict
    where = f"{keys[0]}: " if is_map and keys else ""
    return f"--{name.replace('_', '-')} or CONVOY_{name.upper()}: {where}{message}"


def parts(value: Any) -> Any:
    """Split text at its commas, and return any other value as it is, for pydantic to judge."""
    return value.split(",") if isinstance(value, str) else value
