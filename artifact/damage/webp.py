"""WebP: has no checksum, but its data end where the last pixel does.

The decoder of damaged data loses its place and ends elsewhere: too late, which libwebp notices, or
too early. Data that can be decoded without their last bytes have ended too early.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

from PIL import Image

_BITSTREAMS = (b"VP8 ", b"VP8L")

_CUT_BYTES = 8
"""Encoders write up to three bytes more than decoders need."""


def is_damaged(data: bytes, image: Image.Image) -> bool:
    """Return whether a still image ends too early; the frames of an animation are not checked."""
    kind, content = next((chunk for chunk in _chunks(data) if chunk[0] in _BITSTREAMS), (b"", b""))
    return bool(content) and _decodes(_still(kind, content[:-_CUT_BYTES]))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each chunk."""
    (size,) = struct.unpack_from("<I", data, 4)
    at, end = 12, min(len(data), 8 + size)
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _still(kind: bytes, content: bytes) -> bytes:
    """Return a file of one chunk."""
    chunk = kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _decodes(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data), formats=("WEBP",)).load()
    except MemoryError:
        raise
    except Exception:  # Pillow's plug-ins raise almost anything
        return False
    return True
