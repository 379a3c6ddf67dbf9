"""JPEG: what is damage, and what every viewer shows in spite of a warning.

libjpeg decodes a damaged image to the end, fills what is missing with grey, and tells only the
first of its warnings. It warns of harmless oddities in the same way: an unknown version of JFIF, an
unusual header of a scan, bytes between two segments. `decode` therefore decodes an image that
causes a warning once more, reduced to the parts that its pixels depend on, in their usual form. A
warning about that is about the compressed data: the image is damaged.

libjpeg notices that compressed data end too early, or more than eight bytes too late. It does not
notice all damage; this module looks for three kinds that it misses:

* The last scans of a progressive image are missing, as where a download stopped.
* A part of the compressed data was overwritten with zeros (`scans.py`).
* The steps of quantisation were overwritten with zeros.
"""

from __future__ import annotations

import io
import re

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from convoy.artifact.errors import ImageError
from convoy.artifact.jpeg.scans import is_damaged, may_be_flat
from convoy.artifact.jpeg.structure import (
    ARITHMETIC,
    PROGRESSIVE,
    SEQUENTIAL,
    Structure,
    read,
)

MAX_SCANS = 64
"""A progressive JPEG has about 10; thousands of scans take minutes."""

_COLOR_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""simplejpeg's names of Pillow's modes."""

_PADDED = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
"""libjpeg's warning about bytes between compressed data and the end."""

_READ_AHEAD = 8
"""Bytes that libjpeg reads ahead at most, and does not count as behind the data."""

_FOLLOWING = b"".join(bytes([*range(1, 255, 3), 0xFF, 0xD0 + number]) for number in range(8))
"""Bytes that change any blocks that are decoded from them, with each of the restart markers."""

Pixels = npt.NDArray[np.uint8]


def essence(data: bytes) -> bytes:
    """
    Return the first image in *data*, reduced to its pixels and EXIF data, in the usual form.

    Raises:
        ImageError: If a segment is cut.
    """
    return read(data).essence


def decode(data: bytes, mode: str, scale: int = 1) -> Image.Image:
    """
    Decode the first image in *data* to the pixels that Pillow decodes it to.

    Args:
        mode: Pillow's mode of the image: L, RGB or CMYK.
        scale: 1, or 2, 4 or 8: divide its sides by this while decoding, and round them up. Each
            must have twice as many pixels at least.

    Raises:
        ImageError: If the image is damaged or truncated, or has more than `MAX_SCANS` scans.
    """
    structure = read(data)
    if len(structure.scans) > MAX_SCANS:
        raise ImageError(
            f"the JPEG image has more than {MAX_SCANS} scans; save it as an ordinary JPEG"
        )
    if structure.frame.marker in ARITHMETIC:
        raise ImageError(
            "the JPEG image is compressed by arithmetic coding, whose damage cannot be noticed; "
            "save it as an ordinary JPEG"
        )
    if structure.frame.marker in SEQUENTIAL | PROGRESSIVE and not structure.is_complete:
        raise ImageError("the JPEG image is truncated: scans are missing; send the original file")
    image = _decode(data, structure, mode, scale)
    if structure.has_zero_step or is_damaged(structure):
        raise ImageError(
            "the JPEG image is damaged: zeros overwrote a part of it; send the original file"
        )
    return image


def _decode(data: bytes, structure: Structure, mode: str, scale: int) -> Image.Image:
    try:
        return _image(_decode_usual(data, structure, mode, scale), mode)
    except ValueError as error:
        # simplejpeg knows the usual samplings only.
        if "subsampling" in str(error):
            return _decode_unusual(structure, scale)
        raise ImageError(
            f"the JPEG image is damaged or truncated ({error}); send the original file"
        ) from error


def _decode_usual(data: bytes, structure: Structure, mode: str, scale: int) -> Pixels:
    """Decode with simplejpeg, and reduce the image as far as it takes to cause no warning."""
    # Without a least size, libjpeg does not scale.
    full = structure.frame.size if scale > 1 else (0, 0)
    width, height = -(-full[0] // scale), -(-full[1] // scale)
    try:
        return _decode_strictly(data, mode, width, height)
    except ValueError:
        pass
    while True:
        try:
            return _decode_strictly(structure.essence, mode, width, height)
        except ValueError as error:
            # Some cameras write zeros before the image's end; libjpeg may not count all at once.
            found = _PADDED.search(str(error)) if structure.is_closed else None
            if not found or not structure.cut_zeros(int(found[1])):
                raise


def _decode_strictly(data: bytes, mode: str, width: int, height: int) -> Pixels:
    """
    Decode with simplejpeg, which raises libjpeg's first warning as a ValueError.

    The result has the smallest size that libjpeg can scale to and that is not below this one.
    """
    pixels: Pixels = simplejpeg.decode_jpeg(
        data, _COLOR_SPACES[mode], min_width=width, min_height=height
    )
    return pixels


def _decode_unusual(structure: Structure, scale: int) -> Image.Image:
    """
    Decode with Pillow, which tells nothing of libjpeg's warnings.

    Data are complete if the pixels do not depend on what follows them.
    """
    # Where zeros mean nothing, those before the image's end are of no use; some may be data.
    last = structure.scans[-1]
    if not may_be_flat(last):
        structure.cut_zeros(len(last.data) - len(last.data.rstrip(b"\0")) - _READ_AHEAD)
    image = _decode_silently(structure, scale)
    changed = _decode_silently(structure, scale, _FOLLOWING)
    if image.tobytes() != changed.tobytes():
        raise ImageError("the JPEG image is truncated; send the original file")
    return image


def _decode_silently(structure: Structure, scale: int, following: bytes = b"") -> Image.Image:
    """Decode with Pillow, with bytes behind the data of each scan."""
    essence = structure.essence_with(following)
    image: Image.Image = Image.open(io.BytesIO(essence), formats=("JPEG",))
    image.draft(None, (image.width // scale, image.height // scale))
    image.load()
    return image


def _image(pixels: Pixels, mode: str) -> Image.Image:
    # Pillow takes CMYK as Adobe writes it, inverted.
    if mode == "CMYK":
        return Image.fromarray(255 - pixels, mode="CMYK")
    return Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels)
