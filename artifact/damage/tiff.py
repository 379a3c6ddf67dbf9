"""TIFF: strips and tiles are checked as their compression allows.

* Deflate has a checksum for each, which libtiff does not read.
* The data of LZW decode to a known number of bytes.
* JPEG is checked as other JPEGs are.
* The runs of PackBits have a known length as well, and the codes of CCITT's group 4 few zeros.

What libtiff notices of these and of the others is heard in `convoy.artifact.tiff`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, TiffImagePlugin

from convoy.artifact import jpeg
from convoy.artifact.damage import lzw

_COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 259, 262, 266
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _ROWS, _PLANAR = 256, 257, 258, 277, 278, 284
_STRIP_PLACES, _STRIP_SIZES, _TILE_PLACES, _TILE_SIZES = 273, 279, 324, 325
_TILE_WIDTH, _TILE_HEIGHT, _JPEG_TABLES = 322, 323, 347
_YCC, _SEPARATE = 6, 2

_JPEG = 7

_LZW_VARIANT = lzw.Variant(8, is_tiff=True)
_PIECE_BYTES = 1 << 20
_MAX_RUNS = 1_000_000
"""Limit on the runs of a block, of which each takes a step in Python."""

_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
"""Pillow's modes of JPEGs, by number of samples."""

Tags = TiffImagePlugin.ImageFileDirectory_v2


@dataclass(frozen=True, slots=True)
class _Block:
    """
    A strip or a tile.

    Attributes:
        data: Its compressed data.
        size: The bytes that they decode to.
        full_size: The same if the block reached below the image, as the last strip may.
    """

    data: bytes
    size: int
    full_size: int


def is_damaged(data: bytes, image: Image.Image) -> bool:
    """
    Return whether a strip or a tile is damaged.

    Raises:
        ImageError: If a JPEG in it is damaged.
    """
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    compression = tags.get(_COMPRESSION, 1)
    if compression == _JPEG:
        return any(_is_damaged_jpeg(block, tags) for block in _blocks(data, tags))
    # Reversed bits, and colours that share a value, make blocks of another form.
    if tags.get(_FILL_ORDER, 1) != 1 or tags.get(_PHOTOMETRIC) == _YCC:
        return False
    check = _CHECKS.get(compression)
    return check is not None and any(map(check, _blocks(data, tags)))


def _blocks(data: bytes, tags: Tags) -> Iterator[_Block]:
    """Yield the strips or tiles of all planes."""
    is_tiled, planes = _TILE_PLACES in tags, _planes(tags)
    places = tags[_TILE_PLACES if is_tiled else _STRIP_PLACES]
    sizes = tags.get(_TILE_SIZES if is_tiled else _STRIP_SIZES) or (len(data),) * len(places)
    rows, width = min(tags.get(_ROWS, tags[_HEIGHT]), tags[_HEIGHT]), tags[_WIDTH]
    if is_tiled:
        rows, width = tags[_TILE_HEIGHT], tags[_TILE_WIDTH]
    bits = sum(tags.get(_BITS, (1,)))
    # One value may stand for all samples.
    if len(tags.get(_BITS, (1,))) == 1:
        bits *= tags.get(_SAMPLES, 1)
    line = (width * bits // planes + 7) // 8
    for number, (place, size) in enumerate(zip(places, sizes, strict=True)):
        above = number % (len(places) // planes) * rows
        inside = rows if is_tiled else min(rows, tags[_HEIGHT] - above)
        yield _Block(data[place : place + size], inside * line, rows * line)


def _planes(tags: Tags) -> int:
    return int(tags.get(_SAMPLES, 1)) if tags.get(_PLANAR) == _SEPARATE else 1


def _is_damaged_group_4(block: _Block) -> bool:
    """Return whether there are more zeros in a row than any code has, before the last byte."""
    return b"\0\0" in block.data.rstrip(b"\0")


def _is_damaged_packbits(block: _Block) -> bool:
    """Return whether the runs have too many bytes; libtiff notices too few."""
    at = size = 0
    for _ in range(_MAX_RUNS):
        if at >= len(block.data):
            return size > block.full_size
        head = block.data[at]
        # Up to 127: that many bytes and one more. From 129 on: one byte several times.
        at += 2 + head if head < 128 else 2 if head > 128 else 1
        size += 1 + head if head < 128 else 257 - head if head > 128 else 0
    return False


def _is_damaged_lzw(block: _Block) -> bool:
    # Old writers turned the bits around, as libtiff notices by the first code.
    if block.data[:1] == b"\0" and block.data[1] & 1:
        return False
    try:
        values, ended = _LZW_VARIANT.count(block.data)
    except lzw.CorruptError:
        return True
    if values is None or (values >= block.size and not ended):
        return False
    return values not in (block.size, block.full_size)


def _is_damaged_deflate(block: _Block) -> bool:
    """Return whether the checksum is wrong or missing, or the data decode to far too much."""
    stream, rest, left = zlib.decompressobj(), block.data, 2 * block.full_size + _PIECE_BYTES
    try:
        while not stream.eof and left > 0:
            decoded = len(stream.decompress(rest, _PIECE_BYTES))
            rest, left = stream.unconsumed_tail, left - decoded
            if not decoded and not rest:
                break
    except zlib.error:
        return True
    return not stream.eof


def _is_damaged_jpeg(block: _Block, tags: Tags) -> bool:
    """Decode a strip or a tile, whose tables may lie elsewhere; return False, or raise."""
    tables, data = tags.get(_JPEG_TABLES), block.data
    samples = tags.get(_SAMPLES, 3) // _planes(tags)
    if samples in _JPEG_MODES:
        jpeg.decode(tables[:-2] + data[2:] if tables else data, _JPEG_MODES[samples])
    return False


_CHECKS = {
    4: _is_damaged_group_4,
    5: _is_damaged_lzw,
    8: _is_damaged_deflate,
    32773: _is_damaged_packbits,
    32946: _is_damaged_deflate,
}
"""Checks of a strip or a tile, by compression."""
