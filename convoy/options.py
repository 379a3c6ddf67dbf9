"""Options of the commands: the base class of their declarations, and the parts that these share.

A field of an `Options` class is the only declaration of an option. Its name is the flag and the
environment variable: `max_batch_size` is `--max-batch-size` and `CONVOY_MAX_BATCH_SIZE`. Its
default, range and description are pydantic's; an `Option` in its annotation adds what a command
line needs beside these. A flag takes precedence over the environment, and the environment over the
default. `convoy.commands.command_line` makes a command line of such a class.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

# A Path has only one of the slashes.
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/")
_HALF_URL = re.compile(r"[a-z][a-z0-9+.-]+:/(?!/)")


@dataclass(frozen=True, slots=True)
class Option:
    """
    The parts of an option that only its command line shows.

    Attributes:
        metavar: Name of the value in the help, such as FILE; empty: by type and unit.
        flag: The flag in the help, if it is not the field's name, which works too.
        brief: Show it in `--help` of a command that has `--help-all`.
        positional: It is an argument: a value without a flag.
        has_variable: Whether a variable can set it. False where the value decides what a command
            changes, as the variable may be meant for another command.
    """

    metavar: str = ""
    flag: str = ""
    brief: bool = False
    positional: bool = False
    has_variable: bool = True


class Options(BaseModel):
    """
    The options of one command, or a panel of them in its help.

    Attributes:
        panel: Heading of the options that this class declares.
        examples: A purpose and a command line each, for the end of the help.
    """

    # Built when the first values are checked: --help checks none.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, defer_build=True, allow_inf_nan=False
    )

    panel: ClassVar[str] = "Options"
    examples: ClassVar[tuple[tuple[str, str], ...]] = ()

    @field_validator("model_repository", "prediction_log", "to", mode="before", check_fields=False)
    @classmethod
    def _refuse_urls(cls, value: Any, info: ValidationInfo) -> Any:
        # A path would take the URL for folders, and make them.
        kind = cls.model_fields[info.field_name or ""].annotation
        if kind is Path and _URL.match(str(value)):
            raise ValueError(
                f"{value} is a URL, and this command uses folders only; copy artifacts between "
                "the folder and the store"
            )
        if _HALF_URL.match(str(value)):
            raise ValueError(f"{value} is no URL; write {str(value).replace(':/', '://')}")
        return value


def split(value: Any) -> Any:
    """Split each text at its commas; return any other value as it is, for pydantic to judge."""
    # Case 1: a repeated flag.
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return [part for text in value for part in split(text)]
    # Case 2: a default, or values from Python.
    if not isinstance(value, str):
        return value
    # Case 3: a list in JSON.
    if value.startswith("["):
        return _from_json(value)
    # Case 4: `A,B`.
    return [part.strip() for part in value.split(",") if part.strip()]


def pairs(value: Any) -> Any:
    """Read texts of the form NAME=VALUE, separated by commas; return any other value as it is."""
    # Case 1: a default, or values from Python.
    if not isinstance(value, str | list):
        return value
    # Case 2: an object in JSON.
    text = ",".join(value) if isinstance(value, list) else value
    if text.startswith("{"):
        return _from_json(text)
    # Case 3: pairs.
    parts = [part.partition("=") for part in split(text)]
    if not all(name and equals and content for name, equals, content in parts):
        raise ValueError(f"{text!r} is not a list of pairs; expected NAME=VALUE,NAME=VALUE")
    return {name.strip(): content.strip() for name, _, content in parts}


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not valid JSON") from error


Separated = BeforeValidator(split)
"""Annotation of a list: the flag may be repeated, and flag and variable may hold commas."""

Pairs = BeforeValidator(pairs)
"""Annotation of a map: the flag may be repeated, and flag and variable may hold commas."""

Location = Annotated[str, BeforeValidator(str), Option("DIR")]
"""Annotation of a repository: a folder, which may be given as a path, or the URL of a store."""

Names = Annotated[list[str], Separated]
