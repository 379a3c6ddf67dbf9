"""AVIF and HEIC: neither has checksums, and their decoders accept almost any data.

What can be noticed are zeros in a row, as lost blocks of a disk or of a download leave them: the
compressed data of AV1 and HEVC have none, HEVC's by definition.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import Image

_ZEROS = bytes(16)
"""Sound data, of one colour too, have at most five zeros in a row."""

_CODED = frozenset({b"av01", b"hvc1"})
_ITEMS = (b"meta", b"iinf", b"infe", b"iloc")

_MAX_ITEMS = 10_000


def is_damaged(data: bytes, image: Image.Image) -> bool:
    """Return whether zeros overwrote a part of the compressed data of a still image."""
    meta = next((box for kind, box in _boxes(data) if kind == b"meta"), b"")
    boxes = dict(_boxes(meta[4:]))
    if not boxes.keys() >= {b"iinf", b"iloc"}:
        return False
    coded = set(_coded_items(boxes[b"iinf"]))
    extents = [extent for item, *extent in _extents(boxes[b"iloc"]) if item in coded]
    # Several items may lie in one place, but no image needs more than the file.
    if sum(length for _, length in extents) > len(data):
        return True
    return any(data.find(_ZEROS, start, start + length) >= 0 for start, length in extents)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each box."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        end = at + size if size else len(data)
        if end < at + head:
            raise LookupError
        yield kind, data[at + head : end]
        at = end


def _coded_items(iinf: bytes) -> Iterator[int]:
    """Yield the numbers of the items that hold compressed pixels."""
    for _, infe in _boxes(iinf[6 if iinf[0] == 0 else 8 :]):
        item, _, kind = struct.unpack_from(">IH4s" if infe[0] == 3 else ">HH4s", infe, 4)
        if kind in _CODED:
            yield item


def _extents(iloc: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield item, place in the file and length of each extent."""
    version, place_bytes, length_bytes = iloc[0], iloc[4] >> 4, iloc[4] & 15
    base_bytes, index_bytes = iloc[5] >> 4, (iloc[5] & 15 if version else 0)
    wide = 4 if version == 2 else 2
    at = 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(iloc):
            raise LookupError
        return int.from_bytes(iloc[at - size : at])

    for _ in range(min(number(wide), _MAX_ITEMS)):
        item, method = number(wide), number(2) & 15 if version else 0
        number(2)  # the file, which is this one
        base, count = number(base_bytes), number(2)
        # The extents of one item may have neither place nor length; then there is one.
        for _ in range(count if place_bytes + length_bytes else 1):
            number(index_bytes)
            place, length = base + number(place_bytes), number(length_bytes)
            if method == 0:
                yield item, place, length
