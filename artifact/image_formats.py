"""The formats of images that are opened, and the names of others, for messages.

Formats are told apart by content; a file's name does not count. HEIC needs the extra `heif`.
"""

from __future__ import annotations

import logging
import re

# Imported, so that Pillow does not load all its plug-ins to find the one that opens an image.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

# Pillow logs oddities of TIFFs as errors; clients could fill the log.
logging.getLogger("PIL").setLevel(logging.CRITICAL)

# Several images are decoded at once, each in one thread.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

try:
    import pillow_heif
except ImportError:  # an extra
    HAS_HEIF = False
else:
    pillow_heif.register_heif_opener(
        decode_threads=1, thumbnails=False, depth_images=False, aux_images=False
    )
    HAS_HEIF = True

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", *(("HEIF",) if HAS_HEIF else ()))
"""The formats that are opened, by Pillow's names."""

NAMES = (
    "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF and HEIC"
    if HAS_HEIF
    else ("JPEG, PNG, WebP, BMP, GIF, TIFF and AVIF")
)
"""The same, for people."""

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
) | ({".heic", ".heif", ".hif"} if HAS_HEIF else set())
"""The usual suffixes of files in these formats, in lower case."""

_INSTALL_HEIF = "convert it to JPEG, or install the extra heif"

_KNOWN: tuple[tuple[str, bytes], ...] = (
    ("JPEG", rb"\xff\xd8\xff"),
    ("PNG", rb"\x89PNG"),
    ("WebP", rb"RIFF....WEBP"),
    ("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    ("GIF", rb"GIF8[79]a"),
    ("AVIF", rb"....ftypavi[fs]"),
)
"""Formats that are opened, by a pattern of their first bytes."""

_OTHERS: tuple[tuple[str, bytes], ...] = (
    ("a JPEG XL image", rb"\xff\x0a|\0\0\0\x0cJXL "),
    ("a JPEG 2000 image", rb"\0\0\0\x0cjP  |\xffO\xffQ"),
    ("a JPEG XR image", rb"II\xbc"),
    ("a Photoshop file (PSD)", rb"8BPS"),
    ("a GIMP file (XCF)", rb"gimp xcf"),
    ("an icon (ICO)", rb"\0\0\x01\0[^\0]\0"),
    ("a cursor (CUR)", rb"\0\0\x02\0[^\0]\0"),
    ("an icon of macOS (ICNS)", rb"icns"),
    ("a DDS texture", rb"DDS "),
    ("a QOI image", rb"qoif"),
    ("a Netpbm image", rb"P[1-7f]\s"),
    ("an OpenEXR image", rb"\x76\x2f\x31\x01"),
    ("a Radiance HDR image", rb"#\?RADIANCE|#\?RGBE"),
    ("a FITS image", rb"SIMPLE  ="),
    ("a DICOM file", rb".{128}DICM"),
    ("a DjVu document", rb"AT&TFORM"),
    ("a camera's raw file (CR3)", rb"....ftypcrx"),
    ("a camera's raw file (ORF)", rb"IIR[OS]|MMOR"),
    ("a camera's raw file (RW2)", rb"IIU\0"),
    ("a camera's raw file (RAF)", rb"FUJIFILMCCD-RAW"),
    ("a camera's raw file (X3F)", rb"FOVb"),
    ("a camera's raw file (MRW)", rb"\0MRM"),
    ("a PDF document", rb"\s*%PDF-"),
    ("a PostScript file (EPS)", rb"%!PS|\xc5\xd0\xd3\xc6"),
    ("an SVG drawing", rb"(?i)\s*(<\?xml.*)?(<!--.*)?(<!doctype svg.*)?<svg\b"),
    ("an HTML page", rb"(?i)\s*(<!--.*)?<(!doctype html|html|head|body)\b"),
    ("an XML file", rb"\s*<\?xml"),
    ("a MOV video (QuickTime)", rb"....(ftypqt|moov|mdat|wide)"),
    ("an MP4 video", rb"....ftyp(?!hei|hev|mif1|msf1)"),
    ("a WebM or Matroska video", rb"\x1a\x45\xdf\xa3"),
    ("an AVI video", rb"RIFF....AVI "),
    ("an MPEG video", rb"\0\0\x01[\xba\xb3]"),
    ("a Flash video", rb"FLV\x01"),
    ("an Ogg file", rb"OggS"),
    ("a WAV file", rb"RIFF....WAVE"),
    ("an MP3 file", rb"ID3"),
    ("a zip archive (or an Office document)", rb"PK(\x03\x04|\x05\x06)"),
    ("a gzip file", rb"\x1f\x8b"),
    ("a 7z archive", rb"7z\xbc\xaf"),
    ("a rar archive", rb"Rar!\x1a"),
    ("a bzip2 file", rb"BZh[1-9]"),
    ("an xz file", rb"\xfd7zXZ"),
    ("a Zstandard file", rb"\x28\xb5\x2f\xfd"),
    ("a tar archive", rb".{257}ustar"),
    ("a NumPy array", rb"\x93NUMPY"),
    ("a pickle of Python", rb"\x80[\x02-\x05]"),
    ("an HDF5 file", rb"\x89HDF"),
    ("a program", rb"\x7fELF|MZ"),
    ("macOS's metadata of another file (AppleDouble)", rb"\0\x05\x16\x07"),
    ("a pointer of Git LFS; fetch the image with `git lfs pull`", rb"version https://git-lfs"),
    ("an image in a data URL; send the bytes that its base64 holds", rb"data:image/"),
    ("an image in base64; send the bytes that it holds", rb"/9j/|iVBORw0KGgo|R0lGOD|UklGR"),
    ("a TGA image", rb"\0\0[\x02\x03\x0a\x0b]\0{5}"),
    ("a PCX image", rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]"),
    ("JSON", rb"\s*[{\[]\s*[\"{\[\]}\d]"),
)
"""Other formats, by a pattern of their first bytes; the first that matches counts."""

_HEIC = rb"....ftyp(hei|hev|mif1|msf1)"
_TIFF = rb"(II|MM)(\*\0|\0\*|\+\0|\0\+)"

_CONTROLS = frozenset(map(chr, {*range(32)} - {7, 8, 9, 10, 12, 13, 27}))

_HEAD_BYTES = 1024


def describe(data: bytes) -> str:
    """Return what *data* is, which no decoder opened, and what to do, as a sentence's end."""
    head = data[:_HEAD_BYTES]
    for known, pattern in (*_KNOWN, ("TIFF", _TIFF), *([("HEIC", _HEIC)] if HAS_HEIF else [])):
        if _matches(pattern, head):
            return f"the {known} image is damaged or truncated; send the original file"
    if _matches(_HEIC, head):
        return f"this is a HEIC image, which this installation does not read; {_INSTALL_HEIF}"
    other = next((other for other, pattern in _OTHERS if _matches(pattern, head)), _plain(head))
    # Some of them say what to do.
    if ";" in other:
        return f"this is {other}"
    return f"this is {other}; convoy reads {NAMES}: send an image in one of these formats"


def name(image: Image.Image) -> str:
    """Return the name of an opened image's format, for people."""
    return {"WEBP": "WebP", "HEIF": "HEIC", "MPO": "JPEG"}.get(
        image.format or "", str(image.format)
    )


def is_tiff(data: bytes) -> bool:
    """Return whether *data* begins as a TIFF does."""
    return _matches(_TIFF, data[:4])


def _matches(pattern: bytes, head: bytes) -> bool:
    return bool(re.match(pattern, head, re.DOTALL))


def _plain(head: bytes) -> str:
    """Describe bytes without a signature."""
    if not head.strip(b"\0"):
        return "a file of zeros"
    # A character at the end may be cut.
    text = head.decode(errors="ignore")
    if len(text.encode()) > len(head) - 4 and not set(text) & _CONTROLS:
        return "text"
    return f"no image that convoy knows (it begins with the bytes {head[:8].hex(' ')})"
