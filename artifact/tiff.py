"""TIFF: pixels as the file means them, where Pillow reads them otherwise, and libtiff's messages.

Pillow reads uncompressed data itself, and wrongly where each channel has a plane of its own or bits
are in reverse order; libtiff reads all data here.
"""

from __future__ import annotations

import ctypes
import threading
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImagePalette, TiffImagePlugin

from convoy.artifact.errors import ImageError

TiffImagePlugin.READ_LIBTIFF = True

UNKNOWN_KIND = (
    "the TIFF image is damaged, or its pixels are of a kind that is not decoded; send the original "
    "file, or save it as RGB with 8 bits per channel"
)
"""The refusal of a file that Pillow does not open."""

_BITS, _PHOTOMETRIC, _PLANAR, _PALETTE, _INKS, _SAMPLE_FORMAT = 258, 262, 284, 320, 332, 339
_MIN_IS_WHITE, _SEPARATE_PLANES, _CMYK, _SIGNED = 0, 2, 1, 2

_heard = threading.local()


def _hear(module: bytes | None, text: bytes | None, values: int | None) -> None:
    """
    Remember that libtiff complains of compressed data.

    It has a function for each compression, such as Fax4Decode, and goes on after most complaints.
    Strips of LZW without an end code are whole: `damage/tiff.py` counts what they decode to.
    """
    if b"Decode" in (module or b"") and b"EOI code" not in (text or b""):
        _heard.damage = True


# The last argument are the values of the text, in C's form.
_HEAR = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)(_hear)


def _listen() -> None:
    """
    Hear libtiff's messages, which it would otherwise write to standard error.

    It has one for each oddity of a file, so that clients could fill the log.
    """
    packages = Path(PIL.__file__).parents[1]
    bundled = [*packages.glob("pillow.libs/libtiff*"), *packages.glob("PIL/.dylibs/libtiff*")]
    for library in [str(path) for path in bundled] or filter(None, [find_library("tiff")]):
        libtiff = ctypes.CDLL(library)
        for function in (libtiff.TIFFSetErrorHandler, libtiff.TIFFSetWarningHandler):
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            function(ctypes.cast(_HEAR, ctypes.c_void_p))


_listen()


def load(image: Image.Image) -> Image.Image:
    """
    Decode the first page to 8 bits per channel.

    Raises:
        ImageError: If the data are damaged, or pixels of a kind whose brightness is not known.
    """
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    _check_kind(image)
    _read_old_palette(image)
    _heard.damage = False
    image.load()
    if _heard.damage:
        raise ImageError("the TIFF image is damaged or truncated; send the original file")
    return _upper_bits(image) if image.mode.startswith("I;16") else image


def _check_kind(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse pixels that Pillow reads as if they were of another kind."""
    tags = image.tag_v2
    if _PHOTOMETRIC not in tags:
        raise ImageError(
            "the TIFF image does not tell what its values mean (tag PhotometricInterpretation); "
            "save it anew as RGB"
        )
    if _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        raise ImageError(
            "the TIFF image has signed values, without a fixed range of brightness; save it with 8 "
            "or 16 bits per channel, unsigned"
        )
    if tags.get(_PLANAR) == _SEPARATE_PLANES and image.mode in ("LA", "La", "PA"):
        raise ImageError(
            "the TIFF image has its transparency in a plane of its own; save it with interleaved "
            "channels"
        )
    if image.mode == "CMYK" and tags.get(_INKS, _CMYK) != _CMYK:
        raise ImageError("the TIFF image has inks other than CMYK; save it as RGB")


def _read_old_palette(image: TiffImagePlugin.TiffImageFile) -> None:
    """Read a palette of 8 bits, which should have 16, as libtiff's tools do."""
    palette = image.tag_v2.get(_PALETTE, (0,))
    if image.mode in ("P", "PA") and max(palette) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(palette))


def _upper_bits(image: TiffImagePlugin.TiffImageFile) -> Image.Image:
    """Reduce 16 or 12 bits to the upper 8."""
    values = np.asarray(image) >> image.tag_v2[_BITS][0] - 8
    if image.tag_v2[_PHOTOMETRIC] == _MIN_IS_WHITE:
        values = 255 - values
    upper = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    upper.format = "TIFF"
    return upper
