"""PNG: each chunk has a checksum, and IEND is the last; Pillow does not check all of this."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""The chunks that pixels depend on; a damaged comment does not matter."""

_MAX_CHUNKS = 50_000
"""Limit on the steps in Python; Pillow refuses images in so many pieces."""


def is_damaged(data: bytes, image: Image.Image) -> bool:
    """Return whether a checksum is wrong up to the end of the (first) image."""
    at, kind = 8, b""
    for _ in range(_MAX_CHUNKS):
        # The image ends, or a further frame of an animation follows.
        if kind == b"IEND" or (kind == b"IDAT" and data[at + 4 : at + 8] == b"fcTL"):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind in _PIXELS:
            (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
            if zlib.crc32(memoryview(data)[at + 4 : at + 8 + length]) != checksum:
                return True
        at += 12 + length
    return False
