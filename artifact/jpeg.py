"""JPEG: what is damage, and what every viewer shows in spite of a warning.

libjpeg decodes a damaged image to the end, fills what is missing with grey, and tells only the
first of its warnings. It warns of harmless oddities in the same way: an unknown version of JFIF, an
unusual header of a scan, bytes between two segments. `decode` therefore decodes an image that
causes a warning once more, reduced to the parts that its pixels depend on, in their usual form. A
warning about that is about the compressed data: the image is damaged.

libjpeg notices that compressed data ends too early or too late, also between restart markers. It
does not notice all damage; this module looks for two kinds that it misses:

* The last scans of a progressive image are missing, as where a download stopped.
* A part of the compressed data was overwritten with zeros. Decoders take them for data.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from convoy.artifact.errors import ImageError

MAX_SCANS = 64
"""A progressive JPEG has about 10; thousands of scans take minutes."""

_MAX_SEGMENTS = 20_000
"""Limit on the segments of an image; each takes a step in Python."""

# In compressed data FF is followed by 00 or by the number of a restart marker.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_START, _END, _SCAN, _TABLES = 0xD8, 0xD9, 0xDA, 0xC4
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_WITHOUT_LENGTH = frozenset({0x01, _START})
_SEQUENTIAL, _PROGRESSIVE = frozenset({0xC0, 0xC1, 0xC9}), frozenset({0xC2, 0xCA})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_TABLES, 0xC8, 0xCC}
_ESSENTIAL = frozenset(range(0xC0, 0xD0)) | {0xDB, 0xDC, 0xDD}
"""Markers of frames, tables, the number of lines and the restart interval."""

_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x02\x00\x00\x01\x00\x01\x00\x00"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""Adobe's segment, but for the colour transform at its end."""

_COLOR_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""simplejpeg's names of Pillow's modes."""

_ZEROS = bytes(12)
"""Sound data has at most half as many zeros in a row, unless they mean a flat area."""

_PADDING = bytes(8)
"""libjpeg reads as far ahead."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """
    One scan.

    Attributes:
        components: Identifiers of its components.
        band: The first and the last coefficient in it.
        low_bit: The lowest bit of these coefficients in it.
        data: Its compressed data, without padding.
        is_overwritten: Whether zeros overwrote a part of its data.
    """

    components: bytes
    band: tuple[int, int]
    low_bit: int
    data: bytes
    is_overwritten: bool


@dataclass(slots=True)
class _Structure:
    """
    The structure of the first image in a file.

    Attributes:
        parts: The parts that its pixels depend on, in order and in their usual form.
        transform: Adobe's colour transform; None if it is not told.
        frame: Marker of the frame; 0 if there is none.
        components: Identifiers of the frame's components.
        zero_symbols: By class and number of a Huffman table: the symbol whose code is all zeros.
        scans: The scans, in order.
    """

    parts: list[bytes] = field(default_factory=list)
    transform: int | None = None
    frame: int = 0
    components: bytes = b""
    zero_symbols: dict[int, int] = field(default_factory=dict)
    scans: list[_Scan] = field(default_factory=list)

    @property
    def essence(self) -> bytes:
        """The image, reduced to what its pixels depend on, without a marker at its end."""
        usual = 2 if len(self.components) == 4 else 1
        adobe = []
        if self.transform is not None:
            adobe = [_ADOBE, bytes([self.transform if self.transform in (0, usual) else usual])]
        return b"".join([b"\xff\xd8", *adobe, *self.parts])

    @property
    def is_complete(self) -> bool:
        """Return whether the scans hold all bits of all coefficients of all components."""
        # Nearly all images have one scan with everything.
        if len(self.scans) == 1 and self.frame in _SEQUENTIAL:
            return self.scans[0].components == self.components
        missing = {component: bytearray(b"?" * 64) for component in self.components}
        for scan in self.scans:
            first, last = scan.band
            for component in scan.components:
                missing[component][first : last + 1] = bytes([scan.low_bit]) * (last + 1 - first)
        return not any(map(any, missing.values()))

    def add_essential(self, marker: int, segment: bytes) -> None:
        """Add a segment that pixels depend on."""
        self.parts.append(segment)
        if marker in _FRAMES:
            self.frame, self.components = marker, segment[10::3][: segment[9]]
        at = 4
        while marker == _TABLES and at < len(segment):
            self.zero_symbols[segment[at]] = segment[at + 17]
            at += 17 + sum(segment[at + 1 : at + 17])

    def add_scan(self, header: bytes, data: bytes) -> None:
        """Add a scan; a sequential one holds everything, whatever its header says."""
        count = header[0]
        pairs, (first, last, bits) = header[1 : 1 + 2 * count], header[1 + 2 * count :][:3]
        if self.frame in _SEQUENTIAL:
            first, last, bits = 0, 63, 0
        data = _without_padding(data)
        self.parts += [
            b"\xff\xda" + (6 + 2 * count).to_bytes(2) + header[: 1 + 2 * count],
            bytes([first, last, bits]) + data,
        ]
        overwritten = _ZEROS in data and not self._may_be_flat(pairs[1::2], first, last, bits)
        self.scans.append(_Scan(pairs[::2], (first, last), bits & 15, data, overwritten))

    def _may_be_flat(self, tables: bytes, first: int, last: int, bits: int) -> bool:
        """Return whether zeros in a row may be a flat area, in a scan with this header."""
        # Case 1: a scan that refines average brightness; its data is one bit for each block.
        if last == 0 and bits >> 4:
            return True
        # Case 2: the averages themselves; zeros are a flat area if they mean "as before".
        if last == 0:
            return all(self.zero_symbols.get(number >> 4) == 0 for number in tables)
        # Case 3: other coefficients; zeros are a flat area if they mean "no more in this block".
        return all(self.zero_symbols.get(16 | number & 15, 0) & 15 == 0 for number in tables)


def essence(data: bytes) -> bytes:
    """
    Return the first image in *data*, reduced to its pixels and EXIF data, in the usual form.

    Raises:
        ImageError: If a segment is cut.
    """
    try:
        return _read(data).essence + b"\xff\xd9"
    except (IndexError, ValueError) as error:
        raise ImageError(
            "the JPEG image is damaged or truncated; send the original file"
        ) from error


def decode(data: bytes, mode: str) -> Image.Image:
    """
    Decode the first image in *data* to the pixels that Pillow decodes it to.

    Args:
        mode: Pillow's mode of the image: L, RGB or CMYK.

    Raises:
        ImageError: If the image is damaged or truncated, or has more than `MAX_SCANS` scans.
    """
    structure = _read(data)
    if len(structure.scans) > MAX_SCANS:
        raise ImageError(
            f"the JPEG image has more than {MAX_SCANS} scans; save it as an ordinary JPEG"
        )
    _check(structure)
    try:
        return _image(simplejpeg.decode_jpeg(data, _COLOR_SPACES[mode]), mode)
    except ValueError:
        return _decode_essence(structure, mode)


def _decode_essence(structure: _Structure, mode: str) -> Image.Image:
    try:
        pixels = simplejpeg.decode_jpeg(structure.essence + b"\xff\xd9", _COLOR_SPACES[mode])
    except ValueError as error:
        # simplejpeg knows the usual samplings only.
        if "subsampling" in str(error):
            return _decode_unusual(structure)
        raise ImageError(
            f"the JPEG image is damaged or truncated ({error}); send the original file"
        ) from error
    return _image(pixels, mode)


def _decode_unusual(structure: _Structure) -> Image.Image:
    """
    Decode with Pillow, which tells nothing of libjpeg's warnings.

    Pillow does tell that data ends before all pixels are decoded, if no marker ends it.
    """
    essence = structure.essence
    image: Image.Image = Image.open(io.BytesIO(essence + b"\xff\xd9"), formats=("JPEG",))
    # The scans of a progressive image have markers between them.
    if len(structure.scans) == 1:
        if _decodes(essence[: -len(structure.scans[0].data) // 50 - len(_PADDING)]):
            raise ImageError("the JPEG image is damaged: it ends too late; send the original file")
        if not _decodes(essence + _PADDING):
            raise ImageError("the JPEG image is truncated; send the original file")
    image.load()
    return image


def _decodes(data: bytes) -> bool:
    """Return whether *data*, without a marker at its end, holds all pixels."""
    try:
        Image.open(io.BytesIO(data), formats=("JPEG",)).load()
    except OSError:
        return False
    return True


def _image(pixels: npt.NDArray[np.uint8], mode: str) -> Image.Image:
    # Pillow takes CMYK as Adobe writes it, inverted.
    if mode == "CMYK":
        return Image.fromarray(255 - pixels, mode="CMYK")
    return Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels)


def _check(structure: _Structure) -> None:
    """Refuse damage that libjpeg does not notice."""
    known = structure.frame in _SEQUENTIAL | _PROGRESSIVE
    if known and not structure.is_complete:
        raise ImageError("the JPEG image is truncated: scans are missing; send the original file")
    for scan in structure.scans:
        if scan.is_overwritten:
            raise ImageError(
                "the JPEG image is damaged: zeros overwrote a part of it; send the original file"
            )


def _read(data: bytes) -> _Structure:
    """Read the structure of the first image, up to its end or that of *data*."""
    structure = _Structure()
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
    return structure


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield marker and bytes of each segment of the first image, and the bytes up to the next."""
    found = _MARKER.search(data, 2)
    while found and (marker := data[found.start() + 1]) != _END:
        end = found.end()
        if marker not in _WITHOUT_LENGTH:
            end += int.from_bytes(data[end : end + 2])
        following = _MARKER.search(data, end)
        if end <= len(data):
            behind = data[end : following.start() if following else len(data)]
            yield marker, data[found.start() : end], behind
        found = following


def _without_padding(data: bytes) -> bytes:
    """Return compressed data without zeros at its end, which some cameras write."""
    stripped = data.rstrip(b"\0")
    return data[: len(stripped) + 1] if stripped.endswith(b"\xff") else stripped
