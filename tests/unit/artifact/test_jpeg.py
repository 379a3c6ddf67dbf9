"""JPEGs that every viewer shows are decoded as Pillow does it, and damaged ones are refused."""

import io
import random
import re
import struct

import numpy as np
import pytest
from PIL import Image

from convoy.artifact import jpeg
from convoy.artifact.errors import ImageError
from tests.fuzz.damage import photograph
from tests.fuzz.seeds import CORPUS
from tests.harness.images import encode

PHOTOGRAPH = photograph(random.Random(0))
SOUND = encode(PHOTOGRAPH, "JPEG")
PROGRESSIVE = encode(PHOTOGRAPH, "JPEG", progressive=True)
RESTARTS = encode(PHOTOGRAPH, "JPEG", restart_marker_rows=1)
UNUSUAL = (CORPUS / "images/wide-sampling.jpg").read_bytes()
CMYK = encode(PHOTOGRAPH.convert("CMYK"), "JPEG", restart_marker_rows=1)

FIRST = 20
"""Place of the first segment behind JFIF's."""


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def adobe(transform: int) -> bytes:
    """Adobe's segment, which tells the colour space."""
    return segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def added(content: bytes, at: int = FIRST, data: bytes = SOUND) -> bytes:
    """Return *data* with *content* at a place."""
    return data[:at] + content + data[at:]


def scan_header(data: bytes) -> int:
    """Place of the three bytes that say what is in the first scan."""
    return data.index(b"\xff\xda") + 5 + 2 * data[data.index(b"\xff\xda") + 4]


def changed(at: int, content: bytes, data: bytes = SOUND) -> bytes:
    """Return *data* with *content* in place of what is there."""
    return data[:at] + content + data[at + len(content) :]


HEADER = scan_header(SOUND)

GOOD = {
    "JFIF 2.01": changed(11, b"\x02\x01"),
    "JFIF 0.99": changed(11, b"\x00\x63"),
    "JFIF without a thumbnail's bytes": changed(18, b"\x09\x09"),
    "JFIF twice": added(SOUND[2:FIRST]),
    "no JFIF": SOUND[:2] + SOUND[FIRST:],
    "scan of coefficients 0 to 0": changed(HEADER, b"\x00\x00"),
    "scan of coefficients 63 to 0": changed(HEADER, b"\x3f\x00"),
    "scan with bits": changed(HEADER + 2, b"\x13"),
    "scan of all that is odd": changed(11, b"\x03\x00", changed(HEADER, b"\x01\x3f\x21")),
    "unknown transform of Adobe's": added(adobe(7)),
    "profile that is not one": added(segment(0xE2, b"ICC_PROFILE\0\x09\x03garbage")),
    "EXIF that is none": added(segment(0xE1, b"Exif\0\0garbage")),
    "Photoshop's segment, cut": added(segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\x00")),
    "bytes between segments": added(b"\x00\x01garbage"),
    "bytes before the scan": added(b"garbage", SOUND.index(b"\xff\xda")),
    "filling bytes": added(b"\xff" * 9),
    "filling bytes before the end": added(b"\xff" * 9, len(SOUND) - 2),
    "zeros before the end": added(bytes(99), len(SOUND) - 2),
    "bytes behind the end": SOUND + b"garbage",
    "many scans": PROGRESSIVE,
    "restart markers": RESTARTS,
    "restart markers and JFIF 2.01": changed(11, b"\x02\x01", RESTARTS),
    "four by two samples": UNUSUAL,
    "CMYK": CMYK,
    "CMYK of an unknown transform": re.sub(rb"(Adobe.{6})\x00", b"\\1\x01", CMYK, flags=re.S),
    "grey": encode(PHOTOGRAPH.convert("L"), "JPEG"),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("behind", [b"", random.Random(0).randbytes(6 << 20)], ids=["", "video"])
def test_sound_image(name: str, behind: bytes) -> None:
    """
    It is decoded to Pillow's pixels, also if it is a motion photo, with a video behind it.
    """
    image = Image.open(io.BytesIO(GOOD[name]))
    decoded = jpeg.decode(GOOD[name] + behind, image.mode)
    assert decoded.mode == image.mode
    assert np.array_equal(np.asarray(decoded), np.asarray(image))


@pytest.mark.parametrize("name", ["no JFIF", "many scans", "restart markers", "CMYK"])
@pytest.mark.parametrize("missing", [1, 2])
def test_missing_end(name: str, missing: int) -> None:
    """
    An image that lacks nothing but the marker at its end is decoded; Pillow itself refuses it.
    """
    data = GOOD[name]
    expected = np.asarray(jpeg.decode(data, image_mode(data)))
    decoded = jpeg.decode(data[:-missing], image_mode(data))
    assert np.array_equal(np.asarray(decoded), expected)


@pytest.mark.parametrize("colour", ["white", "black", "red"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}])
def test_flat_image(colour: str, options: dict[str, int]) -> None:
    """
    The compressed data of a flat area are zeros, and no damage.
    """
    data = encode(Image.new("RGB", (999, 999), colour), "JPEG", optimize=True, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(np.asarray(jpeg.decode(data, "RGB")), expected)


@pytest.mark.parametrize(
    "name", ["restart markers", "many scans", "grey", "CMYK", "four by two samples", "JFIF 2.01"]
)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9, 0.97])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_truncated(name: str, share: float, end: bytes) -> None:
    """
    An image that was cut, and perhaps closed again, is refused.
    """
    data = GOOD[name]
    start = scan_header(data) + 3
    with pytest.raises(ImageError, match=r"(damaged|truncated).*; send the original"):
        jpeg.decode(data[: start + int((len(data) - start) * share)] + end, image_mode(data))


@pytest.mark.parametrize("name", ["restart markers", "no JFIF", "CMYK", "JFIF 2.01", "many scans"])
@pytest.mark.parametrize("length", [12, 100, 1000])
def test_overwritten_with_zeros(name: str, length: int) -> None:
    """
    A part that was never written, as after a failed download or a bad card, is noticed.
    """
    data = GOOD[name]
    start = scan_header(data) + 3
    for share in (0, 0.3, 0.6, 0.9):
        place = start + int((len(data) - length - start) * share)
        with pytest.raises(ImageError, match="send the original"):
            jpeg.decode(changed(place, bytes(length), data), image_mode(data))


def test_harmless_warning_hides_no_damage() -> None:
    """
    libjpeg tells only its first warning, of the version here; the second one counts, too.
    """
    data = changed(11, b"\x02\x01", RESTARTS)
    third, fourth = (data.index(bytes([0xFF, marker])) for marker in (0xD2, 0xD3))
    with pytest.raises(ImageError, match="damaged"):
        jpeg.decode(data[:third] + data[fourth:], "RGB")


def test_missing_scans() -> None:
    """
    A progressive image whose last scans are missing is refused, though libjpeg decodes it.
    """
    last = PROGRESSIVE.rindex(b"\xff\xc4")
    with pytest.raises(ImageError, match="scans are missing"):
        jpeg.decode(PROGRESSIVE[:last] + b"\xff\xd9", "RGB")


def test_scans_of_the_first_image_count() -> None:
    """
    A pair of bytes behind the first image that looks like a scan is none; 65 scans are too many.
    """
    jpeg.decode(SOUND + b"\xff\xda\x00\x02" * 1000, "RGB")
    end = len(PROGRESSIVE) - 2
    last = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : end]
    with pytest.raises(ImageError, match="more than 64 scans; save"):
        jpeg.decode(added(last * 64, end, PROGRESSIVE), "RGB")


def test_segments_between_scans_are_limited() -> None:
    """
    A million segments between two scans, which nobody else counts, are refused soon.
    """
    data = added(segment(0xFE, b"") * 1_000_000, PROGRESSIVE.rindex(b"\xff\xda"), PROGRESSIVE)
    with pytest.raises(ImageError, match="more than 20000 pieces"):
        jpeg.decode(data, "RGB")


@pytest.mark.parametrize("marker", [0xC0, 0xC4, 0xDA])
def test_segment_that_is_cut(marker: int) -> None:
    """
    A frame, a table or the header of a scan without content is damage, also to who opens it.
    """
    with pytest.raises(ImageError, match="send the original file"):
        jpeg.essence(SOUND[:2] + segment(marker, b"\0" * (marker == 0xC4)) + SOUND[2:])


def image_mode(data: bytes) -> str:
    """Pillow's mode of a JPEG."""
    return str(Image.open(io.BytesIO(data)).mode)
