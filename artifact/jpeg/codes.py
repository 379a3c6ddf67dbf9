"""The codes in the compressed data of a JPEG's scan, read for their lengths only.

Each `read_` function returns the number of bits that some blocks take (ITU-T T.81, F.2.2 and G.1.2;
G.1.2.3 for refinements). It raises IndexError where the codes go on behind the data or are none,
and `DamageError` where they stand for what no block holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from convoy.artifact.jpeg.structure import Band

Lookup = Sequence[int]
"""An entry for any 16 bits: a number, and from bit 8 on the length of the code and its value."""

_NO_CODE = 1 << 31
"""The entry of bits that are no code; it is longer than any data that are read."""

_MAX_ZEROS = 24
"""No block has as many coefficients in a row that become -1, whose code may be zeros."""

_END_OF_BLOCK = 128


class DamageError(Exception):
    """No encoder writes these codes."""


def plain(data: bytes) -> bytes:
    """Return compressed data without stuffing, and without filling bytes before a marker."""
    return data.rstrip(b"\xff").replace(b"\xff\0", b"\xff")


def windows(data: bytes) -> Sequence[int]:
    """Return the 16 bits from each bit of plain data on, with zeros behind the last one."""
    octets = np.frombuffer(data + b"\0\0", np.uint8).astype(np.uint32)
    triples = octets[:-2] << 16 | octets[1:-1] << 8 | octets[2:]
    shifted = triples[:, np.newaxis] >> np.arange(8, 0, -1, dtype=np.uint32)
    return shifted.astype(np.uint16).reshape(-1).data


@lru_cache(maxsize=32)
def _lookup(table: bytes, numbers: bytes, sizes: bytes) -> Lookup:
    """
    Return the lookup of a Huffman table.

    Args:
        table: 16 counts of codes by their length, then the symbols in the order of their codes.
        numbers: The number that stands for each of 256 symbols.
        sizes: The number of bits of the value behind each symbol's code.
    """
    entries = np.full(1 << 16, _NO_CODE, np.uint32)
    symbols, at = iter(table[16:]), 0
    for length, count in enumerate(table[:16], 1):
        for _, symbol in zip(range(count), symbols, strict=False):
            end = at + (1 << 16 - length)
            entries[at:end] = numbers[symbol] | length + sizes[symbol] << 8
            at = end
    return entries.data


_SYMBOLS = bytes(range(256))
_SIZES = bytes(symbol & 15 for symbol in _SYMBOLS)
_STEPS = bytes(
    (symbol >> 4) + 1 if symbol & 15 or symbol == 0xF0 else _END_OF_BLOCK for symbol in _SYMBOLS
)
"""Coefficients that a symbol stands for: zeros and one more, or the rest of the block."""


def averages(table: bytes) -> Lookup:
    """Return the lookup of a DC table; its numbers are sizes."""
    return _lookup(table, _SYMBOLS, _SYMBOLS)


def steps(table: bytes) -> Lookup:
    """Return the lookup of an AC table for a sequential scan; its numbers are `_STEPS`."""
    return _lookup(table, _STEPS, _SIZES)


def runs(table: bytes) -> Lookup:
    """Return the lookup of an AC table for a progressive scan; its numbers are symbols."""
    return _lookup(table, _SYMBOLS, _SIZES)


def read_units(bits: Sequence[int], units: int, blocks: Sequence[tuple[Lookup, Lookup]]) -> int:
    """
    Read *units* MCUs.

    Args:
        blocks: For each block of an MCU, the lookups of its DC and AC table; that of the AC table
            is empty in a progressive scan of DC coefficients.
    """
    at = 0
    for _ in range(units):
        for average, others in blocks:
            at += average[bits[at]] >> 8
            place = 1 if others else _END_OF_BLOCK
            while place < 64:
                code = others[bits[at]]
                at += code >> 8
                place += code & 255
            if 64 < place < _END_OF_BLOCK:
                raise DamageError
    return at


def read_band(bits: Sequence[int], band: Band, lookup: Lookup, known: list[int]) -> int:
    """
    Read the first scan of a band of AC coefficients.

    Args:
        known: For each block, a bit for each coefficient that is not 0; more are added.
    """
    at = block = 0
    while block < len(known):
        place, mask, more = band.first, 0, 0
        while place <= band.last:
            code = lookup[bits[at]]
            at += code >> 8
            run, size = code >> 4 & 15, code & 15
            # Case 1: zeros and a coefficient.
            if size:
                place += run + 1
                mask |= 1 << place - 1
            # Case 2: 16 zeros.
            elif run == 15:
                place += 16
            # Case 3: nothing more in this block, and nothing in some that follow.
            else:
                more = _more_blocks(bits, at, run)
                at += run
                place = band.last + 1
        known[block] |= mask
        block += 1 + more
        if place > band.last + 1 or block > len(known):
            raise DamageError
    return at


def read_refinement(bits: Sequence[int], band: Band, lookup: Lookup, known: list[int]) -> int:
    """Read a scan that adds a bit to a band; the arguments are those of `read_band`."""
    at = block = 0
    while block < len(known):
        before, place, mask, more, zeros = known[block], band.first, 0, 0, 0
        while place <= band.last:
            zeros = 0 if bits[at] else zeros + 1
            code = lookup[bits[at]]
            at += code >> 8
            run, size = code >> 4 & 15, code & 15
            # Case 1: nothing new in this block, and in some that follow; a bit for what is known.
            if not size and run < 15:
                more = _more_blocks(bits, at, run)
                at += run + _count(before >> place << place, band)
                at += sum(_count(other, band) for other in known[block + 1 : block + 1 + more])
                place = band.last + 1
                break
            # Case 2: zeros, with a bit for what is known among them, and a coefficient or a zero.
            while place <= band.last and (run or before >> place & 1):
                if before >> place & 1:
                    at += 1
                else:
                    run -= 1
                place += 1
            if size:
                mask |= 1 << place
                if zeros > _MAX_ZEROS:
                    raise DamageError
            place += 1
        known[block] |= mask
        block += 1 + more
        if place > band.last + 1 or block > len(known):
            raise DamageError
    return at


def _more_blocks(bits: Sequence[int], at: int, size: int) -> int:
    """Return how many blocks end together with one; *size* bits say that."""
    return (1 << size) - 1 + (bits[at] >> 16 - size if size else 0)


def _count(mask: int, band: Band) -> int:
    """Return how many bits of a band are set."""
    return (mask >> band.first & (2 << band.last - band.first) - 1).bit_count()
