"""Headers of GIF and TIFF, read before Pillow makes memory for what they claim.

Pillow opens these formats with memory of its own: for the background of a GIF's first frame, for
the tables of a TIFF's strips. libtiff makes memory for a whole tile, and some compressions for as
much as the file asks for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from convoy.artifact.errors import ImageError

CheckSize = Callable[[int, int], None]
"""Raises `ImageTooLargeError` for a width and a height, in pixels, that are too many together."""

_MAX_BLOCKS = 50_000
"""Limit on the blocks before a GIF's first frame; each takes a step in Python."""

_DISPOSAL = 0b00011100
"""Bits that say what becomes of a frame when the next one is shown."""

_MAX_VALUES = 65_536
"""Limit on the values of a TIFF's tag: each strip or tile has one in two of them."""

_WIDTH, _HEIGHT, _COMPRESSION, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 259, 322, 323
_KIND, _FURTHER_IMAGES, _DNG = 254, 330, 50706
_TABLES = (273, 279, 324, 325)
"""Tags of the places and the sizes of strips and of tiles."""

_NUMBERS = {_WIDTH, _HEIGHT, _COMPRESSION, _TILE_WIDTH, _TILE_HEIGHT}
_FORMS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
"""Forms of whole numbers, by type."""

_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
"""None, CCITT, LZW, JPEG, deflate and PackBits. Others may ask for gigabytes of memory, or are the
first kind of JPEG (6), which tells no damage."""


def first_frame(data: bytes, check: CheckSize) -> bytes:
    """
    Reduce a GIF to its first frame.

    Pillow would read what is before it in another way where blocks are missing, and would make
    memory for what is behind it.

    Raises:
        ImageError: If it is no GIF with a frame, or exceeds the limits.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    check(width, height)
    at = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    header, control = data[:at], b""
    for _ in range(_MAX_BLOCKS):
        kind = data[at]
        # Case 1: the frame.
        if kind == 0x2C:
            left, top, width, height = struct.unpack_from("<4H", data, at + 1)
            check(left + width, top + height)
            return header + control + data[at:]
        # Case 2: an extension; one of them has the frame's transparent colour.
        if kind == 0x21:
            start, at = at, at + 2
            while data[at]:
                at += 1 + data[at]
            at += 1
            if data[start + 1 : start + 3] == b"\xf9\x04" and at == start + 8:
                control = data[start : start + 3] + bytes([data[start + 3] & ~_DISPOSAL])
                control += data[start + 4 : at]
        # Case 3: filling bytes.
        elif kind == 0:
            at += 1
        else:
            break
    raise ImageError("the GIF image has no frame, or too much before it; send the original file")


class _Tag(NamedTuple):
    """One entry of a TIFF's table: number of values, and the first one if it is in the table."""

    values: int
    first: int


def check_tiff(data: bytes, check: CheckSize) -> None:
    """
    Check the first page of a TIFF.

    Raises:
        ImageError: If it is a camera's raw file, exceeds the limits, or is compressed in a way that
            may take any amount of memory.
    """
    # Canon's raw files are TIFFs that say so behind the header.
    tags = {_DNG: _Tag(1, 1)} if data[8:10] == b"CR" else _tags(data)
    if _DNG in tags or (tags.get(_KIND, _Tag(1, 0)).first & 1 and _FURTHER_IMAGES in tags):
        raise ImageError(
            "this is a camera's raw file (CR2, DNG, NEF or the like), of which only a thumbnail "
            "could be read; convert it to JPEG"
        )
    check(tags[_WIDTH].first, tags[_HEIGHT].first)
    if _TILE_WIDTH in tags and _TILE_HEIGHT in tags:
        check(tags[_TILE_WIDTH].first, tags[_TILE_HEIGHT].first)
    if any(tags[table].values > _MAX_VALUES for table in _TABLES if table in tags):
        raise ImageError(
            f"the TIFF image has more than {_MAX_VALUES} strips or tiles; save it with larger ones"
        )
    compression = tags.get(_COMPRESSION, _Tag(1, 1)).first
    if compression not in _COMPRESSIONS:
        raise ImageError(
            f"the TIFF image is compressed by method {compression}, which is not decoded; save it "
            "with LZW or deflate"
        )


def _tags(data: bytes) -> dict[int, _Tag]:
    """Read the first table of tags. Which of two tags of one number counts is not certain."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = 43 in data[2:4]
    start, number, entry = ("Q", "Q", "HHQ") if is_big else ("I", "H", "HHI")
    (at,) = struct.unpack_from(order + start, data, 8 if is_big else 4)
    (count,) = struct.unpack_from(order + number, data, at)
    at += struct.calcsize(order + number)
    size, tags = (20 if is_big else 12), dict[int, _Tag]()
    for place in range(at, at + min(count, _MAX_VALUES) * size, size):
        tag, kind, values = struct.unpack_from(order + entry, data, place)
        form = _FORMS.get(kind, "I")
        (value,) = struct.unpack_from(order + form, data, place + size - (8 if is_big else 4))
        if tag in tags or (tag in _NUMBERS and kind not in _FORMS):
            raise ImageError("the TIFF image is damaged; send the original file")
        tags[tag] = _Tag(values, value)
    return tags
