"""The protocol's messages and the JSON of its REST form: small bodies in, messages out.

In JSON numbers are numbers, and enums are names. The body of an inference is in `infer_body`.
"""

from __future__ import annotations

from base64 import b64decode
from codecs import BOM_UTF8
from collections.abc import Collection, Mapping
from typing import Any

from google.protobuf.message import Message
from pydantic_core import from_json

from convoy.service.errors import InvalidArgumentError

_REPOSITORY_FIELDS: dict[type, str] = {bool: "bool_param", int: "int64_param", str: "string_param"}


def as_json(message: Message) -> dict[str, Any]:
    """
    Return a message as plain data with defaults; of a choice, only the chosen field.

    protobuf's own JSON writes 64-bit integers as strings; clients of the protocol expect numbers.
    """
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
    # A map is a repeated message of keys and values; JSON has an object for it.
    if field.message_type and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        return {key: _single(entry, item) for key, item in value.items()}
    if field.is_repeated:
        return [_single(field, item) for item in value]
    return _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if field.message_type:
        return as_json(value)
    return field.enum_type.values_by_number[value].name if field.enum_type else value


def parse_object(body: bytes, members: Collection[str] | None = None) -> dict[str, Any]:
    """
    Parse a JSON object; an empty body is an empty object.

    Args:
        members: Names of the members that it may have; None allows any.

    Raises:
        InvalidArgumentError: If the body is not a JSON object, or has an unknown member.
    """
    # A byte order mark may be ignored (RFC 8259, section 8.1).
    body = body.removeprefix(BOM_UTF8)
    # Clients of Triton send no body where every field is optional.
    if not body.strip():
        return {}
    try:
        values = from_json(body)
    except ValueError as error:
        raise InvalidArgumentError(f"the body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InvalidArgumentError("the body must be a JSON object")
    # A request that is answered with 200 must have done all that its client asked for.
    if members is not None and (unknown := sorted(values.keys() - set(members))):
        raise InvalidArgumentError(
            f"unknown member {unknown[0][:64]!r} in the body: expected {', '.join(members)}"
        )
    return values


def set_parameters(target: Any, body: dict[str, Any]) -> None:
    """
    Set the parameters of a repository request; files are in base64.

    Raises:
        InvalidArgumentError: If the protocol does not allow the type or size of one.
    """
    parameters = body.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidArgumentError("parameters must be a JSON object")
    for name, value in parameters.items():
        # Only files are bytes, which JSON does not have.
        if name.startswith("file:") and isinstance(value, str):
            target[name].bytes_param = _decoded(name, value)
        else:
            set_parameter(target, name, value, _REPOSITORY_FIELDS)


def _decoded(name: str, text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidArgumentError(f"parameter {name[:64]!r} is not base64") from error


def set_parameter(target: Any, name: str, value: object, fields: Mapping[type, str]) -> None:
    """
    Set the field of the parameter *name* that *fields* gives for the type of *value*.

    Raises:
        InvalidArgumentError: If there is none, or the value is too large for it.
    """
    field = fields.get(type(value))
    if field is None:
        number = "a number" if float in fields else "an integer"
        raise InvalidArgumentError(
            f"parameter {name[:64]!r} must be a boolean, {number} or a string"
        )
    try:
        setattr(target[name], field, value)
    except ValueError as error:
        raise InvalidArgumentError(f"parameter {name[:64]!r} is out of range") from error


def parameter_value(parameter: Any) -> Any:
    """Return the value of a parameter, which has one field that is set."""
    return getattr(parameter, parameter.WhichOneof("parameter_choice") or "string_param")
