"""TIFFs of any kind, built from the values of their pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

RAW, DEFLATE, PACKBITS = 1, 8, 32773
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCC = 0, 1, 2, 3, 5, 6

_SHORT, _LONG = 3, 4


@dataclass(frozen=True, kw_only=True)
class Layout:
    """
    A way of storing the pixels of a TIFF.

    Attributes:
        order: Order of bytes: `<` or `>`.
        compression: RAW, DEFLATE or PACKBITS.
        predictor: 2 to store differences of neighbours.
        separate: Whether each channel has a plane of its own.
        reversed_bits: Whether the lowest bit of a byte is the first.
        rows: Rows of a strip; 0 for all.
        tile: Side of a square tile; 0 for strips.
    """

    order: str = "<"
    compression: int = RAW
    predictor: int = 1
    separate: bool = False
    reversed_bits: bool = False
    rows: int = 0
    tile: int = 0


@dataclass
class Tiff:
    """
    One page.

    Attributes:
        values: Integers `[H, W, C]`.
        bits: Bits of a value.
        photometric: What the values mean.
        tags: Further tags of 16-bit values.
    """

    values: np.ndarray
    bits: int
    photometric: int
    tags: dict[int, Iterable[int]] = field(default_factory=dict)

    def encode(self, layout: Layout = Layout()) -> bytes:
        """Return the file."""
        height, width, channels = self.values.shape
        side, rows = layout.tile, layout.rows or height
        blocks = list(self._blocks(layout))
        places = np.cumsum([8, *map(len, blocks)])[:-1]
        sizes = [len(block) for block in blocks]
        entries: dict[int, tuple[int, Iterable[int]]] = {
            256: (_LONG, [width]),
            257: (_LONG, [height]),
            258: (_SHORT, [self.bits] * channels),
            259: (_SHORT, [layout.compression]),
            262: (_SHORT, [self.photometric]),
            266: (_SHORT, [2 if layout.reversed_bits else 1]),
            277: (_SHORT, [channels]),
            284: (_SHORT, [2 if layout.separate else 1]),
            317: (_SHORT, [layout.predictor]),
            324 if side else 273: (_LONG, places),
            325 if side else 279: (_LONG, sizes),
            **({322: (_SHORT, [side]), 323: (_SHORT, [side])} if side else {278: (_LONG, [rows])}),
            **{tag: (_SHORT, values) for tag, values in self.tags.items()},
        }
        data = b"".join(blocks)
        head = b"II*\0" if layout.order == "<" else b"MM\0*"
        head += struct.pack(layout.order + "I", 8 + len(data))
        return head + data + _directory(entries, 8 + len(data), layout.order)

    def _blocks(self, layout: Layout) -> Iterator[bytes]:
        """Yield the strips or tiles of each plane."""
        channels = self.values.shape[2]
        planes = np.split(self.values, channels, axis=2) if layout.separate else [self.values]
        height, width = self.values.shape[:2]
        for plane in planes:
            if not layout.tile:
                step = layout.rows or height
                for top in range(0, height, step):
                    yield self._encoded(plane[top : top + step], layout)
                continue
            side = layout.tile
            below, beside = -height % side, -width % side
            plane = np.pad(plane, ((0, below), (0, beside), (0, 0)))
            for top in range(0, height, side):
                for left in range(0, width, side):
                    yield self._encoded(plane[top : top + side, left : left + side], layout)

    def _encoded(self, block: np.ndarray, layout: Layout) -> bytes:
        if layout.predictor == 2:
            block = np.diff(block, axis=1, prepend=0) % (1 << self.bits)
        lines = block.reshape(len(block), -1)
        if self.bits >= 8:
            data = lines.astype(f"{layout.order}u{self.bits // 8}").tobytes()
        else:
            bits = lines[:, :, None] >> np.arange(self.bits)[::-1] & 1
            data = np.packbits(bits.reshape(len(lines), -1).astype(bool), axis=1).tobytes()
        if layout.compression == DEFLATE:
            data = zlib.compress(data)
        elif layout.compression == PACKBITS:
            pieces = (data[at : at + 128] for at in range(0, len(data), 128))
            data = b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)
        if layout.reversed_bits:
            data = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)
        return data


def _directory(entries: dict[int, tuple[int, Iterable[int]]], at: int, order: str) -> bytes:
    """Return the table of tags that begins *at*, and the values that it has no room for."""
    table, behind = struct.pack(order + "H", len(entries)), b""
    at += 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        numbers: list[Any] = list(values)
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == _SHORT else 'I'}", *numbers)
        if len(packed) > 4:
            place = struct.pack(order + "I", at + len(behind))
            behind += packed
        else:
            place = packed.ljust(4, b"\0")
        table += struct.pack(order + "HHI", tag, kind, len(numbers)) + place
    return table + bytes(4) + behind
