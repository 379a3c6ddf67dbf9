"""LZW, as in GIF and TIFF: how many values data decode to, without decoding them.

LZW has no checksum. A damaged code mostly stands for a string of another length, so that the count
at the end code is wrong. NumPy counts the codes of one table at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MAX_TABLES = 3_000
"""Limit on the tables that are counted, of which each takes up to a fifth of a millisecond. Most
encoders empty the table after 6 KB."""

_FEW_CODES, _MAX_CODES = 300, 1 << 18
"""Codes up to the next clear code that are read at first, and the limit on them."""

_MAX_BITS = 12

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


class Count(NamedTuple):
    """
    The result of a count.

    Attributes:
        values: The number of values; None if counting would take too long.
        ended: Whether an end code was found.
        tables: The number of tables that were counted.
    """

    values: int | None
    ended: bool
    tables: int


@cache
def _starts(root_bits: int, is_tiff: bool, codes: int) -> Integers:
    """Return the first bit of each of the *codes* behind a clear code, and that of the next one."""
    size = (1 << root_bits) + 2 + is_tiff + np.arange(-1, codes - 1).clip(0)
    widths = (np.log2(size).astype(np.int64) + 1).clip(max=_MAX_BITS)
    return np.concatenate([[0], np.cumsum(widths)])


class CorruptError(ValueError):
    """A code stands for nothing."""


@dataclass(frozen=True)
class Variant:
    """
    A variant of LZW.

    Attributes:
        root_bits: Bits of a value, 2 to 8.
        is_tiff: Whether codes begin with their highest bit and become wider one code early.
    """

    root_bits: int
    is_tiff: bool

    @property
    def _clear(self) -> int:
        """The code that empties the table; the end code is the next one."""
        return 1 << self.root_bits

    def count(self, data: bytes, max_tables: int = MAX_TABLES) -> Count:
        """
        Count the values that *data* decode to, in up to *max_tables* tables.

        Raises:
            CorruptError: If a code stands for nothing.
        """
        padded = np.frombuffer(data + bytes(2), np.uint8)
        bit = values = 0
        for tables in range(1, max_tables + 1):
            codes, stop, bit = self._table(padded, bit)
            values += self._decoded(codes)
            # Case 1: the data end without an end code. Case 2: with one. Case 3: a clear code.
            if stop is None:
                is_whole = len(codes) < _MAX_CODES
                return Count(values if is_whole else None, ended=False, tables=tables)
            if stop != self._clear:
                return Count(values, ended=True, tables=tables)
        return Count(None, ended=False, tables=max_tables)

    def _table(self, padded: Bytes, bit: int) -> tuple[Integers, int | None, int]:
        """Return the codes up to the next clear or end code, that code if there is one, its end."""
        limit = _FEW_CODES
        while True:
            codes, ends = self._codes(padded, bit, limit)
            stops = np.flatnonzero((codes == self._clear) | (codes == self._clear + 1))
            if len(stops):
                return codes[: stops[0]], int(codes[stops[0]]), int(ends[stops[0]])
            if len(codes) < limit or limit >= _MAX_CODES:
                return codes, None, bit
            limit *= 4

    def _codes(self, padded: Bytes, bit: int, limit: int) -> tuple[Integers, Integers]:
        """Read up to *limit* codes from a place where the table is empty; return their ends too."""
        bits = bit + _starts(self.root_bits, self.is_tiff, limit)
        ends = bits[1 : np.searchsorted(bits, 8 * (len(padded) - 2), "right")]
        starts = bits[: len(ends)]
        at, shift, width = starts >> 3, starts & 7, ends - starts
        first, second, third = (padded[at + place].astype(np.int64) for place in range(3))
        if self.is_tiff:
            window = (first << 16 | second << 8 | third) >> 24 - shift - width
        else:
            window = (first | second << 8 | third << 16) >> shift
        codes: Integers = window & (1 << width) - 1
        return codes, ends

    def _decoded(self, codes: Integers) -> int:
        """Return how many values the codes of one table decode to."""
        # A code beyond the values is the string of an earlier code, and one value more.
        places = np.arange(len(codes))
        earlier = codes - self._clear - 2
        is_value = codes < self._clear
        if not (is_value | (earlier < places)).all():
            raise CorruptError
        earlier, further = np.where(is_value, places, earlier), (~is_value).astype(np.int64)
        while (more := further[earlier]).any():
            further, earlier = further + more, earlier[earlier]
        return int(len(codes) + further.sum())
