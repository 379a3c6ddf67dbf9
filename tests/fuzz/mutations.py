"""Spoils images and messages, the same way for the same dice."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

NUMBERS = (0, 1, 2, 4, 127, 128, 255, 256, 32_767, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
"""Values at which lengths, sizes and counts go wrong."""

MAX_BYTES = 100_000
"""Longer mutants are cut: the suites are after strange ones, not after large ones."""

_INTEGERS = (*NUMBERS, -1, -(2**31), 2**63 - 1, -(2**63), 2**64 - 1)
_TEXTS = ("", "x", "é" * 300, "\x00", "../..", "BYTES", "FP32", "image", "logits", "1", "-1", "{}")
_FLOATS = (0.0, -1.0, 1e308, float("inf"), float("nan"))

_BITS = {
    FieldDescriptor.CPPTYPE_INT32: 32,
    FieldDescriptor.CPPTYPE_UINT32: 32,
    FieldDescriptor.CPPTYPE_INT64: 64,
    FieldDescriptor.CPPTYPE_UINT64: 64,
}
_SIGNED = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
_TEXT = FieldDescriptor.CPPTYPE_STRING  # bytes are of this C++ type, too
_FLOATING = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


def spoil_bytes(dice: random.Random, data: bytes, others: Mapping[str, bytes]) -> bytes:
    """Change *data* in up to four places, now and then by a part of one of *others*."""
    for _ in range(dice.randint(1, 4)):
        data = _changed(dice, data, others)
    return data[:MAX_BYTES]


def spoil_image(dice: random.Random, data: bytes, others: Mapping[str, bytes]) -> bytes:
    """Spoil the bytes of an image; half of the PNGs get correct checksums, so that more is read."""
    spoilt = spoil_bytes(dice, data, others)
    return with_checksums(spoilt) if dice.random() < 0.5 else spoilt


def spoil_message(dice: random.Random, message: Message) -> None:
    """Change, repeat or clear up to three fields of *message*, at any depth."""
    for _ in range(dice.randint(1, 3)):
        _spoil_field(dice, dice.choice([message, *_within(message)]))


def with_checksums(png: bytes) -> bytes:
    """A PNG whose chunks have the checksums of their content; anything else as it is."""
    if not png.startswith(PNG_SIGNATURE):
        return png
    repaired, at = bytearray(png), len(PNG_SIGNATURE)
    while at + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        end = at + 8 + length
        if end + 4 > len(png):
            break
        struct.pack_into(">I", repaired, end, zlib.crc32(png[at + 4 : end]))
        at = end + 4
    return bytes(repaired)


def _changed(dice: random.Random, data: bytes, others: Mapping[str, bytes]) -> bytes:
    place = dice.randrange(len(data) + 1)
    end = min(len(data), place + dice.choice((1, 1, 2, 4, 16, 64)))
    other = dice.choice(list(others.values()))
    start = dice.randrange(len(other) + 1)
    width = dice.choice((1, 2, 4))
    number = (dice.choice(NUMBERS) % 256**width).to_bytes(width, dice.choice(("little", "big")))
    before, part, after = data[:place], data[place:end], data[end:]
    flipped = bytes(byte ^ 1 << dice.randrange(8) for byte in part)
    return dice.choice(
        (
            before,
            before + after,
            before + flipped + after,
            before + dice.randbytes(len(part)) + after,
            before + part * dice.choice((2, 50)) + after,
            before + number + data[place + width :],
            before + number + part + after,
            before + other[start : start + 64] + after,
            before + other[start:],
        )
    )


def _within(message: Message) -> Iterator[Message]:
    """Every message within *message*."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            children = [one for one in value.values() if isinstance(one, Message)]
        else:
            children = list(value) if field.is_repeated else [value]
        for child in children:
            yield child
            yield from _within(child)


def _spoil_field(dice: random.Random, message: Any) -> None:
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    field = dice.choice(fields)
    if dice.random() < 0.2:
        message.ClearField(field.name)
    elif field.message_type and field.message_type.GetOptions().map_entry:
        _spoil_field(dice, getattr(message, field.name)[dice.choice(_TEXTS)])
    elif field.message_type:
        target = getattr(message, field.name)
        _spoil_field(dice, target.add() if field.is_repeated else target)
    elif field.is_repeated:
        getattr(message, field.name).extend([_value(dice, field)] * dice.choice((1, 1, 2, 300)))
    else:
        setattr(message, field.name, _value(dice, field))


def _value(dice: random.Random, field: FieldDescriptor) -> Any:
    if field.cpp_type == _TEXT:
        text = dice.choice(_TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if field.cpp_type in _FLOATING:
        return dice.choice(_FLOATS)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return dice.random() < 0.5
    bits = _BITS[field.cpp_type]
    value = dice.choice(_INTEGERS) % 2**bits
    return value - 2**bits if field.cpp_type in _SIGNED and value >> (bits - 1) else value
