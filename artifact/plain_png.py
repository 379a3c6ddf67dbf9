"""A fast reader of PNGs as most programs write them: 8 bits, grey or RGB, not interlaced.

Pillow reads the chunks of a PNG in Python, and `damage/png.py` checks them again. For small images,
such as icons or digits, this takes several times as long as decoding the pixels. Here each chunk is
checked once, and Pillow's decoder gets the compressed data of all of them: the pixels are the same.
All other files, damaged ones included, are left to Pillow's reader.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_MODES = {0: "L", 2: "RGB"}
"""Pillow's modes by PNG colour type."""

_WITHOUT_EFFECT = {b"gAMA": 4, b"sRGB": 1, b"cHRM": 32, b"pHYs": 9, b"tIME": 7}
"""Chunks that do not affect the pixels, with their lengths in bytes.

Text chunks are not among them: they may hold an orientation.
"""

_MAX_CHUNKS = 1000
"""Limit on the chunks that are read in Python; a PNG with more is left to Pillow's reader."""

_chunk_head = struct.Struct(">I4s").unpack_from
_checksum = struct.Struct(">I").unpack_from
_header = struct.Struct(">II5B").unpack_from


class PlainPng(NamedTuple):
    """
    A PNG whose chunks are intact.

    Attributes:
        mode: Pillow's mode.
        size: Width and height, in pixels.
        compressed: The zlib stream of the pixels, from all IDAT chunks.
    """

    mode: str
    size: tuple[int, int]
    compressed: bytes

    def decode(self) -> Image.Image:
        """
        Decode the pixels.

        Raises:
            ValueError: If they are damaged.
        """
        return Image.frombytes(self.mode, self.size, self.compressed, "zip", self.mode, 0)


def read(data: bytes) -> PlainPng | None:
    """Check the chunks of a plain PNG without decoding a pixel; return None for any other file."""
    if not data.startswith(_SIGNATURE):
        return None
    try:
        width, height, *kind = _header(data, 16)
        parts = _compressed(data)
    except struct.error:  # the file is truncated
        return None
    bits, color, *methods = kind
    if not parts or bits != 8 or color not in _MODES or any(methods) or not width * height:
        return None
    return PlainPng(
        _MODES[color], (width, height), parts[0] if len(parts) == 1 else b"".join(parts)
    )


def _compressed(data: bytes) -> list[bytes]:
    """Return the contents of the IDAT chunks; return none if the PNG is damaged or not plain."""
    at, expected, found, view = 8, b"IHDR", list[bytes](), memoryview(data)
    for _ in range(_MAX_CHUNKS):
        length, kind = _chunk_head(data, at)
        end = at + 8 + length
        if zlib.crc32(view[at + 4 : end]) != _checksum(data, end)[0]:
            return []
        if kind == b"IDAT":
            found.append(data[at + 8 : end])
        elif found:
            return found if kind == b"IEND" and not length else []
        elif expected:
            if kind != expected or length != 13:
                return []
            expected = b""
        elif _WITHOUT_EFFECT.get(kind) != length:
            return []
        at = end + 4
    return []
