"""TIFF: strips and tiles are checked as their compression allows.

* Deflate has a checksum for each, which libtiff does not read.
* The data of LZW decode to a known number of bytes.
* JPEG is checked as other JPEGs are.
* The runs of PackBits have a known length as well, and the codes of CCITT's group 4 few zeros.

What libtiff notices of these and of the others is heard in `convoy.artifact.tiff`.
"""

from __future__ import annotations

import io
import zlib
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
"""Limit on the runs of an image, of which each takes a step in Python."""

_MAX_BLOCKS = 10_000
"""Limit on the strips or tiles that are checked."""

_MAX_SHARED = 4
"""Limit on the bytes of all blocks, as a multiple of the file's; usual ones share none."""

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
    check = _CHECKS.get(compression)
    # Reversed bits, and colours that share a value, make blocks of another form.
    is_plain = tags.get(_FILL_ORDER, 1) == 1 and tags.get(_PHOTOMETRIC) != _YCC
    if check is None or not (is_plain or compression == _JPEG):
        return False
    return check(_blocks(data, tags), tags)


def _blocks(data: bytes, tags: Tags) -> list[_Block]:
    """Return the strips or tiles of all planes; none if checking them might take too long."""
    is_tiled, planes = _TILE_PLACES in tags, _planes(tags)
    rows, width = min(tags.get(_ROWS, tags[_HEIGHT]), tags[_HEIGHT]), tags[_WIDTH]
    if is_tiled:
        rows, width = tags[_TILE_HEIGHT], tags[_TILE_WIDTH]
    below = -(-tags[_HEIGHT] // rows)
    count = below * -(-tags[_WIDTH] // width) * planes
    places = tags[_TILE_PLACES if is_tiled else _STRIP_PLACES][:count]
    sizes = tags.get(_TILE_SIZES if is_tiled else _STRIP_SIZES) or (len(data),) * len(places)
    # Many small blocks, or blocks that share their bytes.
    if len(places) > _MAX_BLOCKS or sum(sizes[:count]) > _MAX_SHARED * len(data):
        return []
    bits = sum(tags.get(_BITS, (1,)))
    # One value may stand for all samples.
    if len(tags.get(_BITS, (1,))) == 1:
        bits *= tags.get(_SAMPLES, 1)
    line = (width * bits // planes + 7) // 8
    blocks = []
    for number, (place, size) in enumerate(zip(places, sizes, strict=False)):
        inside = rows if is_tiled else min(rows, tags[_HEIGHT] - number % below * rows)
        blocks.append(_Block(data[place : place + size], inside * line, rows * line))
    return blocks


def _planes(tags: Tags) -> int:
    return int(tags.get(_SAMPLES, 1)) if tags.get(_PLANAR) == _SEPARATE else 1


def _group_4(blocks: list[_Block], tags: Tags) -> bool:
    """Return whether there are more zeros in a row than any code has, before the last byte."""
    return any(b"\0\0" in block.data.rstrip(b"\0") for block in blocks)


def _packbits(blocks: list[_Block], tags: Tags) -> bool:
    """Return whether the runs of a block have too many bytes; libtiff notices too few."""
    steps = 0
    for block in blocks:
        at = size = 0
        while at < len(block.data):
            head = block.data[at]
            # Up to 127: that many bytes and one more. From 129 on: one byte several times.
            at += 2 + head if head < 128 else 2 if head > 128 else 1
            size += 1 + head if head < 128 else 257 - head if head > 128 else 0
            steps += 1
            if steps > _MAX_RUNS:
                return False
        if size > block.full_size:
            return True
    return False


def _lzw(blocks: list[_Block], tags: Tags) -> bool:
    """Return whether a block decodes to too few bytes, or to too many before its end code."""
    tables = lzw.MAX_TABLES + len(blocks)
    for block in blocks:
        # Old writers turned the bits around, as libtiff notices by the first code.
        if block.data[:1] == b"\0" and block.data[1] & 1:
            continue
        try:
            values, ended, used = _LZW_VARIANT.count(block.data, tables)
        except lzw.CorruptError:
            return True
        if values is None:  # too many tables
            return False
        tables -= used
        is_filled = values >= block.size and not ended
        if not is_filled and values not in (block.size, block.full_size):
            return True
    return False


def _deflate(blocks: list[_Block], tags: Tags) -> bool:
    """Return whether a checksum is wrong or missing, or a block decodes to far too much."""
    return any(not _has_checksum(block) for block in blocks)


def _has_checksum(block: _Block) -> bool:
    stream, rest, left = zlib.decompressobj(), block.data, 2 * block.full_size + _PIECE_BYTES
    try:
        while not stream.eof and left > 0:
            decoded = len(stream.decompress(rest, _PIECE_BYTES))
            rest, left = stream.unconsumed_tail, left - decoded
            if not decoded and not rest:
                break
    except zlib.error:
        return False
    return stream.eof


def _jpeg(blocks: list[_Block], tags: Tags) -> bool:
    """Decode each block, whose tables may lie elsewhere; return whether one is too large."""
    tables = tags.get(_JPEG_TABLES)
    for block in blocks:
        whole = tables[:-2] + block.data[2:] if tables else block.data
        with Image.open(io.BytesIO(whole), formats=("JPEG",)) as image:
            if image.width * image.height * len(image.getbands()) > block.full_size:
                return True
            jpeg.decode(whole, image.mode)
    return False


_CHECKS = {4: _group_4, 5: _lzw, _JPEG: _jpeg, 8: _deflate, 32773: _packbits, 32946: _deflate}
"""Checks of strips or tiles, by compression."""
