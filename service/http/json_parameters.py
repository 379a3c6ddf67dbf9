"""Small JSON bodies, and the parameters in them, to messages."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from pydantic_core import from_json

from convoy.service.errors import InvalidArgumentError


def parse_object(body: bytes) -> dict[str, Any]:
    """
    Parse a JSON object; empty if there is no body.

    Raises:
        InvalidArgumentError: If it is none.
    """
    if not body.strip():
        return {}
    try:
        values = from_json(body)
    except ValueError as error:
        raise InvalidArgumentError(f"the body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InvalidArgumentError("the body is not a JSON object")
    return values


def set_parameters(target: Any, body: dict[str, Any]) -> None:
    """
    Set the parameters of a repository request; files are base64.

    Raises:
        InvalidArgumentError: If one is of no type that the protocol has.
    """
    parameters = body.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidArgumentError("parameters is not a JSON object")
    for name, value in parameters.items():
        if name.startswith("file:") and isinstance(value, str):
            target[name].bytes_param = _decoded(name, value)
        else:
            set_value(target[name], value, {bool: "bool", int: "int64", str: "string"})


def _decoded(name: str, text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidArgumentError(f"parameter {name[:64]!r} is not base64") from error


def set_value(target: Any, value: object, kinds: dict[type, str]) -> None:
    """Set the field of a choice that fits *value*: `{bool: "bool"}` is field `bool_param`."""
    kind = kinds.get(type(value))
    if kind is None:
        raise InvalidArgumentError(
            f"a value is {str(value)[:32]!r}: no {', '.join(kinds.values())}"
        )
    try:
        setattr(target, f"{kind}_param", value)
    except ValueError as error:
        raise InvalidArgumentError(f"a value is out of range: {str(value)[:32]}") from error
