"""The check of scans: are their compressed data what an encoder wrote, down to the last bit?

Decoders take any bits for data. A part that zeros overwrote, as after a failed download or on a bad
card, decodes to something, and libjpeg notices only data that end too early, or several bytes too
late. Zeros in a row are therefore judged in three steps:

1. Intact data have few of them, so most images need no more than a search.
2. Where zeros do not mean "as before", no encoder writes many of them: they are damage.
3. Elsewhere they may be a flat area. The codes of the scan are read once more, without decoding a
   pixel. If zeros replaced other codes, the codes behind them belong to other blocks. The last
   block then does not end in the last byte, in front of the ones that fill it.

Data that pass the third step are, bit for bit, what an encoder writes for the image that they
decode to. Nothing can tell them from intact data.

The third step is in Python and takes a second at most: it stops at `_MAX_WORK`, and leaves the rest
to libjpeg.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from convoy.artifact.jpeg import codes
from convoy.artifact.jpeg.codes import DamageError, Lookup
from convoy.artifact.jpeg.structure import SEQUENTIAL, Frame, Scan, Structure

_ZEROS = bytes(12)
"""Sound data have at most half as many zeros in a row, unless they mean a flat area."""

_MAX_WORK = 8_000_000
"""Limit on what is read, in bits; a second at most."""

_SIZE = 15
"""Bits of an AC symbol that say how long a coefficient is; 0 means no more, or 16 zeros."""

_INTERVAL_WORK = 100
"""The part of `_MAX_WORK` that any interval takes."""

_SIZES_OF_GENERAL_TABLES = (16 + 12, 16 + 162)
"""Bytes of Huffman tables that code any image of 8 bits, also with symbols that are not in it."""

_RUN = re.compile(_ZEROS + rb"\0*")

_RESTART_MARKER = re.compile(rb"\xff[\xd0-\xd7]")


class _Interval(NamedTuple):
    """
    The data between two restart markers.

    Attributes:
        start: Number of its first MCU.
        units: Number of its MCUs.
        data: Its data.
        is_last: Whether the marker at the image's end follows.
    """

    start: int
    units: int
    data: bytes
    is_last: bool


def is_damaged(structure: Structure) -> bool:
    """Return whether zeros overwrote a part of a scan, in an image that libjpeg decodes."""
    doubtful = [scan for scan in structure.scans if _is_doubtful(scan.data)]
    flat = [scan for scan in doubtful if may_be_flat(scan)]
    if any(_ZEROS in scan.data for scan in doubtful if scan not in flat):
        return True
    try:
        return not _is_readable(structure, flat)
    except (LookupError, DamageError):
        return True


def _is_doubtful(data: bytes) -> bool:
    """Return whether there are zeros in a row, or perhaps where the data go on."""
    return _ZEROS in data or data.endswith(b"\0")


def may_be_flat(scan: Scan) -> bool:
    """Return whether an encoder may write zeros in a row in this scan."""
    averages = [scan.zero_symbol(number >> 4) for number in scan.selectors]
    others = [scan.zero_symbol(16 | number & 15) for number in scan.selectors]
    first, last = scan.band
    # Case 1: bits of what is known already, or one or two coefficients of a slope.
    if scan.is_refinement or 0 < first >= last - 1:
        return True
    # Case 2: a flat area, or a slight slope. Zeros mean "as before", or one less, and "no more".
    if (first > 0 or max(averages) <= 1) and (last == 0 or not any(map(_SIZE.__and__, others))):
        return True
    # Case 3: a pattern that is all zeros by chance. It is in several places, damage in one.
    return len(_RUN.findall(scan.data)) > 1


def _is_readable(structure: Structure, doubtful: list[Scan]) -> bool:
    """Return whether the codes in doubtful scans end where their data do."""
    known: dict[bytes, list[int]] = {}
    work = 0
    for scan in structure.scans:
        is_whole = any(_refines(later, scan) for later in doubtful)
        if not is_whole and scan not in doubtful:
            continue
        for interval in _intervals(structure, scan):
            is_read = is_whole or _is_doubtful(interval.data)
            work += _INTERVAL_WORK + is_read * _work(scan, interval)
            if work > _MAX_WORK:
                return True
            if is_read and not _ends(structure, scan, interval, known):
                return False
    return True


def _refines(later: Scan, scan: Scan) -> bool:
    """Return whether *later* adds bits to coefficients that *scan* may hold."""
    is_band = later.band.first > 0 < scan.band.first
    return is_band and later.is_refinement and later.components == scan.components


def _work(scan: Scan, interval: _Interval) -> int:
    return 8 * len(interval.data) + scan.is_refinement * interval.units


def _intervals(structure: Structure, scan: Scan) -> Iterator[_Interval]:
    total, _ = _units(structure.frame, scan)
    pieces = _RESTART_MARKER.split(scan.data) if scan.interval else [scan.data]
    length = scan.interval or total
    for start, piece in zip(range(0, total, length), pieces, strict=False):
        is_last = scan is structure.parts[-1] and start + length >= total
        units = min(length, total - start)
        yield _Interval(start, units, codes.plain(piece), is_last and structure.is_closed)


def _units(frame: Frame, scan: Scan) -> tuple[int, list[int]]:
    """Return the number of MCUs of a scan, and the components of the blocks in each."""
    factors = [frame.sampling[component] for component in scan.components]
    wide, high = (max(axis) for axis in zip(*frame.sampling.values(), strict=True))
    # Case 1: the blocks of one component, without those that only fill the last MCUs.
    if len(factors) == 1:
        across, down = factors[0]
        blocks = [0]
    # Case 2: blocks of several components in turn.
    else:
        across = down = 1
        blocks = [place for place, (h, v) in enumerate(factors) for _ in range(h * v)]
    width, height = frame.size
    return -(-width * across // (8 * wide)) * -(-height * down // (8 * high)), blocks


def _ends(
    structure: Structure, scan: Scan, interval: _Interval, known: dict[bytes, list[int]]
) -> bool:
    """Return whether the codes in an interval end where its data do."""
    end, data = _read(structure.frame, scan, interval, known), interval.data
    size, filling = -(-end // 8), -end % 8
    last, behind = data[size - 1], data[size:]
    ones = (1 << filling) - 1
    # Case 1: codes that go on behind the data.
    if size > len(data):
        return False
    # Case 2: nothing behind the codes. Ones fill the last byte; some encoders fill it with zeros.
    if not behind:
        return last & ones == ones or (last & ones == 0 and last > 0)
    # Case 3: zeros before the image's end, which some cameras write.
    if any(behind) or not interval.is_last or last & ones != ones:
        return False
    # The same, behind a byte of zeros: a flat area, or its end was overwritten.
    return last > 0 or _has_all_symbols(structure, scan)


def _read(
    frame: Frame,
    scan: Scan,
    interval: _Interval,
    known: dict[bytes, list[int]],
    seen: dict[bytes, set[int]] | None = None,
) -> int:
    """Return the number of bits that the codes of an interval take; *seen* gets their symbols."""

    def lookup(make: Callable[[bytes], Lookup], table: int) -> Lookup:
        content = scan.tables[table]
        return make(content) if seen is None else _Recorder(make(content), content, seen[content])

    bits, band = codes.windows(interval.data), scan.band
    total, components = _units(frame, scan)
    numbers = [(number >> 4, 16 | number & 15) for number in scan.selectors]
    # Case 1: one bit of the average for each block.
    if band.first == 0 and scan.is_refinement:
        return interval.units * len(components)
    # Case 2: averages, and in a sequential scan everything else.
    if band.first == 0:
        averages = [lookup(codes.averages, average) for average, _ in numbers]
        others: list[Lookup] = [()] * len(numbers)
        if frame.marker in SEQUENTIAL:
            others = [lookup(codes.steps, other) for _, other in numbers]
        blocks = [(averages[place], others[place]) for place in components]
        return codes.read_units(bits, interval.units, blocks)
    # Case 3: other coefficients of one component.
    masks = known.setdefault(scan.components, [0] * total)
    part = slice(interval.start, interval.start + interval.units)
    blocks_known = masks[part]
    read = codes.read_refinement if scan.is_refinement else codes.read_band
    end = read(bits, band, lookup(codes.runs, numbers[0][1]), blocks_known)
    masks[part] = blocks_known
    return end


def _has_all_symbols(structure: Structure, scan: Scan) -> bool:
    """Return whether a scan has each symbol of its Huffman tables, if they were made for it."""
    if scan.is_refinement:
        return True
    seen: dict[bytes, set[int]] = defaultdict(set)
    for interval in _intervals(structure, scan):
        _read(structure.frame, scan, interval, {}, seen)
    return all(
        len(table) in _SIZES_OF_GENERAL_TABLES or symbols.issuperset(table[16:])
        for table, symbols in seen.items()
    )


class _Recorder(Sequence[int]):
    """A lookup that records the symbols that are looked up."""

    def __init__(self, lookup: Lookup, table: bytes, seen: set[int]) -> None:
        self._lookup, self._symbols, self._seen = lookup, codes.runs(table), seen

    def __getitem__(self, window: int) -> int:  # type: ignore[override]
        self._seen.add(self._symbols[window] & 255)
        return self._lookup[window]

    def __len__(self) -> int:
        return len(self._lookup)
