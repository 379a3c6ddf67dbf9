"""GIF: the data of the first frame decode to as many pixels as the frame has."""

from __future__ import annotations

import struct

from PIL import Image

from convoy.artifact.damage import lzw
from convoy.artifact.image_headers import first_frame

_VARIANTS = {bits: lzw.Variant(bits, is_tiff=False) for bits in range(2, 9)}

_MAX_BLOCKS = 1 << 18
"""Limit on the steps in Python; so many usual blocks hold 64 MiB."""


def is_damaged(data: bytes, image: Image.Image) -> bool:
    """Return whether the first frame has too few pixels, or too many before its end code."""
    frame = first_frame(data, lambda width, height: None)
    at = 13 + _table_bytes(frame[10])
    # An extension with the transparent colour may precede the frame.
    at += 8 if frame[at] == 0x21 else 0
    width, height, flags = struct.unpack_from("<2HB", frame, at + 5)
    at += 10 + _table_bytes(flags)
    try:
        variant = _VARIANTS[frame[at]]
        values, ended, _ = variant.count(_joined(frame, at + 1))
    except lzw.CorruptError:
        return True
    # Encoders may leave the end code out, and fill the last byte.
    return values is not None and (values < width * height or (ended and values > width * height))


def _table_bytes(flags: int) -> int:
    """Return the size of the table of colours that *flags* announce."""
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _joined(data: bytes, at: int) -> bytes:
    """Join the blocks that begin *at*."""
    blocks = []
    for _ in range(_MAX_BLOCKS):
        if not data[at]:
            break
        blocks.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(blocks)
