"""The wire format of protocol buffers, read in place: the server has no library that reads graphs.

https://protobuf.dev/programming-guides/encoding describes it.

A message is a sequence of fields, each a number with a value. Large values are skipped unread.
Where two messages of one type are joined, the result has the repeated fields of both: so an output
is added to a graph by appending some bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_LENGTHS = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Span:
    """The place of a value in a file: a text, a message or packed numbers."""

    file: BinaryIO
    start: int
    length: int

    def read(self) -> bytes:
        """Return the value."""
        self.file.seek(self.start)
        return self.file.read(self.length)

    def text(self) -> str:
        """Return the value as text."""
        return str(self.read(), "utf-8")

    def fields(self) -> Iterator[tuple[int, int | Span]]:
        """
        Yield the number and the value of each field of a message, in order.

        Raises:
            ValueError: If it is not in the wire format.
        """
        place, end = self.start, self.start + self.length
        while place < end:
            self.file.seek(place)
            key = _read_varint(self.file)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                value = _read_varint(self.file)
                place = self.file.tell()
                yield number, value
                continue
            if kind != _BYTES and kind not in _FIXED_LENGTHS:
                raise ValueError(f"field {number} has the unknown wire type {kind}")
            length = _read_varint(self.file) if kind == _BYTES else _FIXED_LENGTHS[kind]
            start = self.file.tell()
            place = start + length
            if place > end:
                raise ValueError(f"field {number} is cut off")
            yield number, Span(self.file, start, length)


def whole(file: BinaryIO) -> Span:
    """Return the message that fills *file*."""
    return Span(file, 0, file.seek(0, io.SEEK_END))


def spans(message: Span) -> Iterator[tuple[int, Span]]:
    """Yield the fields of a message that are not numbers; raises as `Span.fields`."""
    for number, value in message.fields():
        if isinstance(value, Span):
            yield number, value


def field(number: int, value: int | str | bytes) -> bytes:
    """Return one field in the wire format; a number must not be negative."""
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _BYTES) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Encode a number, 0 or larger: seven bits in each byte, the lowest first."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _read_varint(file: BinaryIO) -> int:
    number = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("a number is cut off")
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return number
    raise ValueError("a number has more than 64 bits")
