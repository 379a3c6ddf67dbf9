"""Problems with the values of options, in words: one line each, with the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Set

import click
from pydantic import ValidationError
from pydantic_core import ErrorDetails


class Problem(click.UsageError):
    """A problem with the command line, whose message has the remedy: one line or more."""


_MESSAGES = {
    "bool_parsing": "{input!r} is not a boolean; expected true or false",
    "byte_size": "{input!r} is not a size; expected a number of bytes, or one such as 4GiB",
    "byte_size_unit": "{input!r} is not a size; expected a number of bytes, or one such as 4GiB",
    "finite_number": "{input!r} is not a finite number",
    "float_parsing": "{input!r} is not a number",
    "greater_than": "{input} is out of range; must be greater than {gt}",
    "greater_than_equal": "{input} is out of range; must be at least {ge}",
    "int_from_float": "{input!r} is not a whole number",
    "int_parsing": "{input!r} is not a whole number",
    "int_parsing_size": "{input} is out of range",
    "literal_error": "{input!r} is not a choice; expected {expected}",
    "less_than": "{input} is out of range; must be less than {lt}",
    "less_than_equal": "{input} is out of range; must be at most {le}",
    "string_pattern_mismatch": "{input!r} is not valid; must match {pattern}",
    "string_too_short": "the value must not be empty",
    "too_short": "the value must not be empty",
}
"""Texts by the kind of the error, for those whose own text is about Python's types."""


def describe(error: ValidationError, names: Mapping[str, str], maps: Set[str]) -> list[str]:
    """
    Return one line for each option that has a wrong value.

    Args:
        names: The name to show for each field: its flag or its variable.
        maps: The fields that are maps, of which a line names the key, too.
    """
    problems: dict[str, list[ErrorDetails]] = {}
    for problem in error.errors():
        # A problem of several options together has no location: its message names them.
        problems.setdefault(str(problem["loc"][0]) if problem["loc"] else "", []).append(problem)
    lines = []
    for field, found in problems.items():
        # A value that fits none of several types has several; the deepest is of the closest type.
        problem = max(found, key=lambda each: len(each["loc"]))
        key = [str(problem["loc"][1])] if field in maps and len(problem["loc"]) > 1 else []
        lines.append(": ".join([*([names[field]] if field else []), *key, _message(problem)]))
    return lines


def explain(error: click.UsageError, command: str) -> list[str]:
    """Return the lines that describe *error*, with the remedy."""
    # Case 1: ours.
    if isinstance(error, Problem):
        return error.message.splitlines()
    # Case 2: a misspelt flag.
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        return [f"unknown option {error.option_name}; did you mean {error.possibilities[0]}?"]
    # Case 3: another of click's, which is a sentence.
    message = error.format_message().rstrip(".")
    return [f"{message[:1].lower()}{message[1:]}; see {command} --help"]


def _message(problem: ErrorDetails) -> str:
    from convoy.artifact.manifest import MODEL_NAME, MODEL_NAME_RULE  # help does not wait for it

    if problem.get("ctx", {}).get("pattern") == MODEL_NAME:
        return f"{problem['input']!r} is not valid; {MODEL_NAME_RULE}"
    context = {
        key: f"{value:g}" if isinstance(value, float) else value
        for key, value in problem.get("ctx", {}).items()
    }
    if text := _MESSAGES.get(problem["type"]):
        return text.format(input=problem["input"], **context)
    return problem["msg"].removeprefix("Value error, ")
