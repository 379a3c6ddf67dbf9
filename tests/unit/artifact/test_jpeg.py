"""JPEGs that every viewer shows are decoded as Pillow does it, and damaged ones are refused."""

import io
import random
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convoy.artifact import jpeg
from convoy.artifact.errors import ImageError
from convoy.artifact.jpeg import scans, structure
from tests.fuzz.jpegs import photograph, sound
from tests.fuzz.seeds import CORPUS
from tests.harness.images import encode

PHOTOGRAPH = photograph(random.Random(0))
SOUND = encode(PHOTOGRAPH, "JPEG")
PROGRESSIVE = encode(PHOTOGRAPH, "JPEG", progressive=True)
RESTARTS = encode(PHOTOGRAPH, "JPEG", restart_marker_rows=1)
UNUSUAL = (CORPUS / "images/wide-sampling.jpg").read_bytes()
UNUSUAL_PROGRESSIVE = (CORPUS / "images/wide-sampling-progressive.jpg").read_bytes()
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
    "zeros and filling bytes before the end": added(bytes(5) + b"\xff" * 5, len(SOUND) - 2),
    "bytes behind the end": SOUND + b"garbage",
    "many scans": PROGRESSIVE,
    "restart markers": RESTARTS,
    "restart markers and JFIF 2.01": changed(11, b"\x02\x01", RESTARTS),
    "four by two samples": UNUSUAL,
    "four by two samples, many scans": UNUSUAL_PROGRESSIVE,
    "four by two samples, zeros before the end": UNUSUAL[:-2] + bytes(99) + UNUSUAL[-2:],
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


WAYS: dict[str, dict[str, Any]] = {
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"optimize": True, "restart_marker_blocks": 3},
}
"""Ways of compression whose code of a flat area is often all zeros."""


def flat(mode: str, side: int) -> Image.Image:
    """An image of one colour."""
    return Image.new("RGB", (side, side), (200, 30, 90)).convert(mode)


def slope(mode: str, side: int) -> Image.Image:
    """An image that becomes brighter evenly."""
    pixels = np.linspace(0, 255, side).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(pixels, (side, side)).copy()).convert(mode)


def chequered(mode: str, side: int) -> Image.Image:
    """An image of squares of 8 pixels."""
    y, x = np.mgrid[:side, :side] // 8
    return Image.fromarray(((x + y) % 2 * 60 + 100).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("make", [flat, slope, chequered])
@pytest.mark.parametrize("way", WAYS)
def test_regular_image(way: str, make: Callable[[str, int], Image.Image], mode: str) -> None:
    """
    Its compressed data hold zeros, at their end too, and are no damage.
    """
    zeros = 0
    for side in (*range(8, 400, 13), 999):
        data = encode(make(mode, side), "JPEG", **WAYS[way])
        zeros += bytes(12) in data or b"\0\xff\xd9" in data
        expected = np.asarray(Image.open(io.BytesIO(data)))
        assert np.array_equal(np.asarray(jpeg.decode(data, mode)), expected), side
    assert zeros > 1


@pytest.mark.parametrize("make", [flat, slope, chequered])
@pytest.mark.parametrize("padding", [1, 3, 9, 99])
def test_oddities_of_a_regular_image(make: Callable[[str, int], Image.Image], padding: int) -> None:
    """
    A new version of JFIF, bytes between segments and zeros before the end do not matter.
    """
    for side in range(16, 200, 7):
        sound = encode(make("RGB", side), "JPEG", optimize=True)
        data = added(b"garbage", data=changed(11, b"\x03\x07", sound))
        data = data[:-2] + bytes(padding) + data[-2:]
        expected = np.asarray(Image.open(io.BytesIO(sound)))
        assert np.array_equal(np.asarray(jpeg.decode(data, "RGB")), expected), side


def accepted_share(sound: bytes, data: bytes) -> float:
    """Return the share of wrong pixels that an image is accepted with; 0 if it is refused."""
    expected = np.asarray(Image.open(io.BytesIO(sound))).astype(int)
    try:
        pixels = np.asarray(jpeg.decode(data, image_mode(sound)))
    except ImageError:
        return 0
    return float((np.abs(pixels - expected) > 16).mean())


@pytest.mark.parametrize("way", WAYS)
def test_zeros_in_a_regular_image(way: str) -> None:
    """
    Zeros that overwrote a part move the codes behind them, and the end of the data with them.
    """
    image = PHOTOGRAPH.resize((200, 90))
    paper = Image.new("RGB", (400, 300), "white")
    paper.paste(image, (90, 70))
    sound = encode(paper, "JPEG", **WAYS[way])
    start = scan_header(sound) + 3
    for place in range(start, len(sound) - 100, 37):
        for length in (16, 64, 97):
            assert accepted_share(sound, changed(place, bytes(length), sound)) < 0.02


def test_end_of_a_regular_image_that_was_zeroed() -> None:
    """
    Zeros that follow a sound part are no flat area if some of the tables' symbols do not occur.
    """
    paper = Image.new("RGB", (400, 300), "white")
    paper.paste(PHOTOGRAPH.resize((200, 90)), (90, 70))
    sound = encode(paper, "JPEG", optimize=True)
    for place in range(scan_header(sound) + 3, len(sound) // 2):
        data = sound[:place] + bytes(len(sound) - 2 - place) + sound[-2:]
        assert accepted_share(sound, data) < 0.02, place


def test_every_scan_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The codes of sound scans end in their last byte, whatever their kind.
    """
    monkeypatch.setattr(scans, "_is_doubtful", lambda data: True)
    monkeypatch.setattr(scans, "may_be_flat", lambda scan: True)
    dice = random.Random(8)
    images = [UNUSUAL, UNUSUAL_PROGRESSIVE, *(sound(dice) for _ in range(60))]
    for data in images:
        assert not scans.is_damaged(structure.read(data))
        assert scans.is_damaged(structure.read(without_a_byte(data)))


def without_a_byte(data: bytes) -> bytes:
    """Remove the last byte of the last scan."""
    end = len(data) - 2
    return data[: end - (2 if data[end - 2] == 0xFF else 1)] + data[end:]


def test_reading_codes_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Scans that would take too long are left to libjpeg.
    """
    monkeypatch.setattr(scans, "_is_doubtful", lambda data: True)
    monkeypatch.setattr(scans, "may_be_flat", lambda scan: True)
    cut = structure.read(without_a_byte(RESTARTS))
    assert scans.is_damaged(cut)
    monkeypatch.setattr(scans, "_MAX_WORK", 100)
    assert not scans.is_damaged(cut)


@pytest.mark.parametrize("size", [1, 2])
def test_steps_of_quantisation_that_were_zeroed(size: int) -> None:
    """
    A step of 0, of 8 or 16 bits, is damage.
    """
    place = SOUND.index(b"\xff\xdb")
    content = bytes([(size - 1) << 4]) + (b"\0" * (size - 1) + b"\7") * 63 + bytes(size)
    with pytest.raises(ImageError, match="zeros overwrote"):
        jpeg.decode(SOUND[:place] + segment(0xDB, content) + SOUND[place:], "RGB")


@pytest.mark.parametrize("marker", [0xC9, 0xCA])
def test_arithmetic_coding(marker: int) -> None:
    """
    Images whose damage cannot be noticed are refused.
    """
    with pytest.raises(ImageError, match=r"arithmetic coding.*; save it as an ordinary JPEG"):
        jpeg.decode(SOUND.replace(b"\xff\xc0", bytes([0xFF, marker])), "RGB")


def test_missing_first_scan() -> None:
    """
    A scan that refines what no scan before it holds shows that one is missing.
    """
    data = UNUSUAL_PROGRESSIVE
    places = [found.start() for found in re.finditer(rb"\xff\xc4", data)]
    with pytest.raises(ImageError, match="scans are missing"):
        jpeg.decode(data[: places[3]] + data[places[4] :], "RGB")


@pytest.mark.parametrize(
    "name",
    [
        *("restart markers", "many scans", "grey", "CMYK", "JFIF 2.01"),
        *("four by two samples", "four by two samples, many scans"),
    ],
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
