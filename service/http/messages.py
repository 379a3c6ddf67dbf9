"""The protocol's messages as the JSON of its REST form: numbers are numbers, enums are names."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message


def as_json(message: Message) -> dict[str, Any]:
    """
    Make a message plain data, defaults included; of a choice only what was chosen.

    protobuf's own JSON makes strings of 64-bit integers; clients of the protocol expect numbers.
    """
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
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
