"""The structure of a JPEG: frame, tables and scans of its first image, without decoding them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from convoy.artifact.errors import ImageError

_MAX_SEGMENTS = 20_000
"""Limit on the segments of an image; each takes a step in Python."""

# In compressed data FF is followed by 00 or by the number of a restart marker.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_QUANTIZATION, _TABLES, _RESTART = 0xDB, 0xC4, 0xDD
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_WITHOUT_LENGTH = frozenset({0x01, _START})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_TABLES, 0xC8, 0xCC}
_ESSENTIAL = frozenset(range(0xC0, 0xD0)) | {_QUANTIZATION, 0xDC, _RESTART}
"""Markers of frames, tables, the number of lines and the restart interval."""

SEQUENTIAL, PROGRESSIVE = frozenset({0xC0, 0xC1, 0xC9}), frozenset({0xC2, 0xCA})
ARITHMETIC = frozenset({0xC9, 0xCA})
"""Markers of the frames that libjpeg decodes."""

_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x02\x00\x00\x01\x00\x01\x00\x00"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""Adobe's segment, but for the colour transform at its end."""


class Band(NamedTuple):
    """The first and the last of some coefficients, in zigzag order: 0 is the average."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Frame:
    """
    The part of the structure that all scans have in common.

    Attributes:
        marker: Its marker, which says how the scans are coded; 0 if there is no frame.
        size: Width and height in pixels.
        sampling: Horizontal and vertical sampling factor by a component's identifier.
    """

    marker: int = 0
    size: tuple[int, int] = (0, 0)
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """
    One scan.

    Attributes:
        header: Its header from the number of components on, in the usual form.
        tables: Huffman tables by class (16 for AC) and number: 16 counts of codes by their length,
            then the symbols.
        interval: The restart interval in MCUs; 0 without restart markers.
        data: Its compressed data.
    """

    header: bytes
    tables: dict[int, bytes]
    interval: int
    data: bytes

    @property
    def segment(self) -> bytes:
        """Return its header as a segment."""
        return b"\xff\xda" + (len(self.header) + 2).to_bytes(2) + self.header

    @property
    def components(self) -> bytes:
        """Return the identifiers of its components."""
        return self.header[1:-3:2]

    @property
    def selectors(self) -> bytes:
        """Return the numbers of a DC and an AC table, 4 bits each, for each component."""
        return self.header[2:-3:2]

    @property
    def band(self) -> Band:
        """Return its coefficients."""
        return Band(self.header[-3], self.header[-2])

    @property
    def is_refinement(self) -> bool:
        """Return whether it adds a bit to coefficients of an earlier scan."""
        return self.header[-1] > 15

    @property
    def low_bit(self) -> int:
        """Return the lowest bit of the coefficients in it."""
        return self.header[-1] & 15

    def zero_symbol(self, table: int) -> int:
        """Return the symbol whose code is all zeros, in the usual table if *table* is not told."""
        return self.tables[table][16] if table in self.tables else table >> 4


@dataclass(slots=True)
class Structure:
    """
    The structure of the first image in a file.

    Attributes:
        parts: The segments and scans that its pixels depend on, in order and in their usual form.
        transform: Adobe's colour transform; None if it is not told.
        frame: The frame.
        tables: The Huffman tables, as `Scan` has them.
        interval: The restart interval in MCUs.
        has_zero_step: Whether a step of quantisation is 0, which is not allowed.
        is_closed: Whether the marker at its end is there.
    """

    parts: list[bytes | Scan] = field(default_factory=list)
    transform: int | None = None
    frame: Frame = Frame()
    tables: dict[int, bytes] = field(default_factory=dict)
    interval: int = 0
    has_zero_step: bool = False
    is_closed: bool = False

    @property
    def scans(self) -> list[Scan]:
        """Return the scans, in order."""
        return [part for part in self.parts if isinstance(part, Scan)]

    @property
    def essence(self) -> bytes:
        """The image, reduced to what its pixels depend on."""
        return self.essence_with(b"")

    def essence_with(self, following: bytes) -> bytes:
        """Return the essence with bytes behind the data of each scan."""
        usual = 2 if len(self.frame.sampling) == 4 else 1
        adobe = []
        if self.transform is not None:
            adobe = [_ADOBE, bytes([self.transform if self.transform in (0, usual) else usual])]
        parts = [
            part.segment + part.data + following if isinstance(part, Scan) else part
            for part in self.parts
        ]
        return b"".join([b"\xff\xd8", *adobe, *parts, b"\xff\xd9"])

    @property
    def is_complete(self) -> bool:
        """Return whether the scans hold all bits of all coefficients of all components."""
        missing = {component: bytearray(b"?" * 64) for component in self.frame.sampling}
        for scan in self.scans:
            band = slice(scan.band.first, scan.band.last + 1)
            for component in scan.components:
                bits = missing.setdefault(component, bytearray(64))
                if scan.is_refinement and bits[band].strip(bytes([scan.header[-1] >> 4])):
                    return False
                bits[band] = bytes([scan.low_bit]) * len(bits[band])
        return not any(map(any, missing.values()))

    def add_essential(self, marker: int, segment: bytes) -> None:
        """Add a segment that pixels depend on."""
        self.parts.append(segment)
        if marker in _FRAMES:
            size = int.from_bytes(segment[7:9]), int.from_bytes(segment[5:7])
            names, factors = segment[10::3][: segment[9]], segment[11::3]
            sampling = {
                name: (both >> 4, both & 15) for name, both in zip(names, factors, strict=False)
            }
            self.frame = Frame(marker, size, sampling)
        elif marker == _RESTART:
            self.interval = int.from_bytes(segment[4:6])
        elif marker == _TABLES:
            self.tables = self.tables | dict(_tables(segment))
        elif marker == _QUANTIZATION:
            self.has_zero_step |= _has_zero_step(segment)

    def add_scan(self, header: bytes, data: bytes) -> None:
        """Add a scan; a sequential one holds everything, whatever its header says."""
        length = 4 + 2 * header[0]
        if len(header) < length:
            raise ValueError("the header of a scan is cut")
        header = header[:length]
        if self.frame.marker in SEQUENTIAL:
            header = header[:-3] + b"\0\x3f\0"
        # Filling bytes belong to the next marker.
        self.parts.append(Scan(header, self.tables, self.interval, data.rstrip(b"\xff")))

    def cut_zeros(self, count: int) -> bool:
        """Remove zeros behind the last scan's data; return whether there were so many."""
        last = self.parts[-1]
        if count <= 0 or not isinstance(last, Scan) or not last.data.endswith(bytes(count)):
            return False
        self.parts[-1] = replace(last, data=last.data[:-count])
        return True


def read(data: bytes) -> Structure:
    """
    Read the structure of the first image, up to its end or that of *data*.

    Raises:
        ImageError: If a segment is cut, or there are more segments than any program writes.
    """
    try:
        return _read(data)
    except ImageError:
        raise
    except (IndexError, ValueError) as error:
        raise ImageError(
            "the JPEG image is damaged or truncated; send the original file"
        ) from error


def _read(data: bytes) -> Structure:
    structure = Structure()
    for count, (marker, segment, behind) in enumerate(_segments(data)):
        if count > _MAX_SEGMENTS:
            raise ImageError(f"the JPEG image is in more than {_MAX_SEGMENTS} pieces")
        content = segment[4:]
        if marker == _SCAN:
            structure.add_scan(content, behind)
        elif marker in _ESSENTIAL:
            structure.add_essential(marker, segment)
        elif marker == _APP0 and content.startswith(b"JFIF\0"):
            structure.parts.append(_JFIF)
        elif marker == _APP1 and content.startswith(b"Exif\0\0"):
            structure.parts.append(segment)
        elif marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
            structure.transform = content[11]
        structure.is_closed = marker == _END
    return structure


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield marker and bytes of each segment of the first image, and the bytes up to the next."""
    found = _MARKER.search(data, 2)
    while found:
        marker, end = data[found.start() + 1], found.end()
        if marker == _END:
            yield marker, data[found.start() : end], b""
            return
        if marker not in _WITHOUT_LENGTH:
            end += int.from_bytes(data[end : end + 2])
        following = _MARKER.search(data, end)
        if end <= len(data):
            behind = data[end : following.start() if following else len(data)]
            yield marker, data[found.start() : end], behind
        found = following


def _tables(segment: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield class and number, and content, of each Huffman table in a segment."""
    at = 4
    while at < len(segment):
        end = at + 17 + sum(segment[at + 1 : at + 17])
        if not at + 17 < end <= len(segment):
            raise ValueError("a Huffman table is empty or cut")
        yield segment[at], segment[at + 1 : end]
        at = end


def _has_zero_step(segment: bytes) -> bool:
    """Return whether a table of quantisation, of 64 steps of 8 or 16 bits, has a step of 0."""
    at = 4
    while at < len(segment):
        steps = np.frombuffer(segment, ">u2" if segment[at] > 15 else "u1", 64, at + 1)
        if not steps.all():
            return True
        at += 1 + steps.nbytes
    return False
