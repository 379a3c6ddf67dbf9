"""Headers of GIF and TIFF are checked before memory is made for what they claim."""

import struct

import numpy as np
import pytest
from PIL import Image

from convoy.artifact.errors import ImageError, ImageTooLargeError
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import preprocess
from tests.harness.images import encode, gradient

SPEC = Preprocessing(color="RGB", resize_px=30, crop_height_px=30, crop_width_px=30)


def gif(
    screen: tuple[int, int] = (30, 30),
    frame: tuple[int, int, int, int] = (0, 0, 30, 30),
    before: bytes = b"",
) -> bytes:
    """Return a white GIF with other sizes in its header, and with *before* before its frame."""
    sound = encode(Image.new("L", (30, 30), 255), "GIF")
    place = sound.index(b",")
    header = sound[:6] + struct.pack("<2H", *screen) + sound[10:place]
    return header + before + b"," + struct.pack("<4H", *frame) + sound[place + 9 :]


CLEARED = b"!\xf9\x04\x08\0\0\0\0"
"""An extension that has the frame cleared to the background when the next one is shown."""

EMPTY = b"!\xff\0"
"""An extension without a block, of which Pillow reads a second list of blocks."""


@pytest.mark.parametrize("before", [b"", CLEARED, EMPTY + CLEARED, b"\0\0" + CLEARED])
@pytest.mark.parametrize(
    ("screen", "frame"),
    [
        ((60_000, 60_000), (0, 0, 30, 30)),
        ((30, 30), (0, 0, 60_000, 60_000)),
        ((30, 30), (60_000, 60_000, 1, 1)),
    ],
)
def test_gif_bomb(screen: tuple[int, int], frame: tuple[int, int, int, int], before: bytes) -> None:
    """
    The size of the screen and that of the frame count, before Pillow fills a background of it.
    """
    with pytest.raises(ImageTooLargeError, match="pixels; at most"):
        preprocess(gif(screen, frame, before), SPEC)


@pytest.mark.parametrize(
    "before", [b"", CLEARED, b"\0", b"!\xfe\x03abc\0", b"!\xfe\x2c" + b"," * 44 + b"\0"]
)
def test_gif_with_extensions(before: bytes) -> None:
    """
    Blocks before the first frame are skipped.
    """
    assert (preprocess(gif(before=before), SPEC) == 255).all()


def test_gif_in_a_million_pieces() -> None:
    """
    A million extensions before the first frame are refused soon.
    """
    with pytest.raises(ImageError, match="too much before"):
        preprocess(gif(before=b"!\xfe\0" * 1_000_000), SPEC)


def test_gif_without_a_frame() -> None:
    """
    A GIF that ends before its first frame is refused.
    """
    with pytest.raises(ImageError, match="no frame"):
        preprocess(gif()[:10] + b"\0\0\0;", SPEC)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_gif_that_ends_properly_too_early(share: float) -> None:
    """
    A frame whose data are cut and closed again is refused.
    """
    noise = np.random.default_rng(0).integers(0, 256, (90, 90), np.uint8)
    data = encode(Image.fromarray(noise), "GIF")
    at = data.index(b",") + 11
    while at + 1 + data[at] < len(data) * share:
        at += 1 + data[at]
    with pytest.raises(ImageError, match="GIF image is damaged or truncated"):
        preprocess(data[:at] + b"\0;", SPEC)


def test_first_frame_of_a_gif() -> None:
    """
    The first frame counts, and the frames behind it are not read.
    """
    frames = [Image.new("RGB", (30, 30), color) for color in ("red", "blue", "green")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=2)
    assert (preprocess(data, SPEC) == (255, 0, 0)).all()
    assert (preprocess(data[: data.rindex(b",") + 5], SPEC) == (255, 0, 0)).all()


@pytest.mark.parametrize("mode", ["P", "L"])
def test_transparent_gif(mode: str) -> None:
    """
    The transparent colour is laid over white, also if the palette holds greys in order.
    """
    image = Image.fromarray(np.arange(900, dtype=np.uint16).astype(np.uint8).reshape(30, 30))
    data = encode(image.convert(mode), "GIF", transparency=7)
    pixels = preprocess(data, SPEC)
    assert (pixels[np.asarray(image) == 7] == 255).all()
    assert (pixels[np.asarray(image) == 8] == 8).all()


def tiff(**tags: int) -> bytes:
    """Return an uncompressed TIFF whose tags, `t322` and so on, are added or have other values."""
    size, order = 30, "<"
    pixels = bytes([77]) * size * size
    usual = {256: size, 257: size, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: size, 279: size**2}
    entries = usual | {int(name[1:]): value for name, value in tags.items()}
    entries[273] = entries[273] or 8 + 2 + 12 * len(entries) + 4
    table = b"".join(
        struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + pixels


def test_tiff_of_these_tests() -> None:
    """
    The TIFF that these tests change is sound.
    """
    assert (preprocess(tiff(), SPEC) == 77).all()


@pytest.mark.parametrize(
    "tags",
    [
        {"t256": 60_000, "t257": 60_000},
        {"t256": 2**31, "t257": 1},
        {"t322": 60_000, "t323": 60_000, "t324": 8, "t325": 900},
    ],
)
def test_tiff_bomb(tags: dict[str, int]) -> None:
    """
    The size of the page counts, and that of a tile, for which libtiff makes memory.
    """
    with pytest.raises(ImageTooLargeError, match="pixels; at most"):
        preprocess(tiff(**tags), SPEC)


def test_tiff_of_a_million_strips() -> None:
    """
    A table of strips that Pillow would read into a list of a million is refused.
    """
    data = bytearray(tiff())
    place = data.index(struct.pack("<HHI", 273, 4, 1))
    struct.pack_into("<I", data, place + 4, 1_000_000)
    with pytest.raises(ImageError, match="more than 65536 strips or tiles; save"):
        preprocess(bytes(data) + bytes(4_000_000), SPEC)


@pytest.mark.parametrize(("method", "number"), [("zstd", 50000), ("lzma", 34925)])
def test_tiff_of_a_compression_without_limits(method: str, number: int) -> None:
    """
    Compressions that take as much memory as a file asks for are refused by name.
    """
    with pytest.raises(ImageError, match=f"method {number}.*LZW"):
        preprocess(encode(gradient(), "TIFF", compression=method), SPEC)


def test_tiff_with_the_first_kind_of_jpeg() -> None:
    """
    Compression by JPEG as in TIFF 6.0, whose damage nobody can tell, is refused by number.
    """
    with pytest.raises(ImageError, match=r"method 6.*save it with LZW"):
        preprocess(tiff(t259=6), SPEC)


@pytest.mark.parametrize(
    "method", ["raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"]
)
@pytest.mark.parametrize("layout", [{}, {"strip_size": 600}, {"tiffinfo": {322: 16, 323: 16}}])
@pytest.mark.parametrize("big", [False, True])
def test_tiff(method: str, layout: dict[str, object], big: bool) -> None:
    """
    Compressions, strips and tiles, large and small files are decoded to the same pixels.
    """
    data = encode(gradient(), "TIFF", compression=method, big_tiff=big, **layout)
    assert np.array_equal(preprocess(data, SPEC), np.asarray(gradient())[:, 5:35])


@pytest.mark.parametrize("tags", [{"t50706": 1}, {"t254": 1, "t330": 8}])
def test_raw_file_of_a_camera(tags: dict[str, int]) -> None:
    """
    A raw file, whose first page is a thumbnail, is not answered by that.
    """
    with pytest.raises(ImageError, match=r"raw file.*convert it to JPEG"):
        preprocess(tiff(**tags), SPEC)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_range(mode: str) -> None:
    """
    Pixels of 32 bits are refused: nobody tells which values are black and white.
    """
    with pytest.raises(ImageError, match="fixed range of brightness; save it with 8 or 16 bits"):
        preprocess(encode(gradient("L").convert(mode), "TIFF"), SPEC)


@pytest.mark.parametrize(
    "data", [b"II*\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0" + b"\xff" * 20, b"GIF89a"]
)
def test_cut_header(data: bytes) -> None:
    """
    A header that is cut, or points to nowhere, is damage.
    """
    with pytest.raises(ImageError, match="damaged or truncated; send the original"):
        preprocess(data, SPEC)


def test_tag_twice() -> None:
    """
    Readers disagree about which of two widths counts, so that both are refused.
    """
    data = tiff(t260=9).replace(struct.pack("<HHI", 260, 4, 1), struct.pack("<HHI", 256, 4, 1))
    with pytest.raises(ImageError, match="damaged"):
        preprocess(data, SPEC)


def test_libtiff_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    """
    Damaged compressed data are refused without a line on standard error, which is the log.
    """
    data = bytearray(encode(gradient(), "TIFF", compression="tiff_lzw"))
    data[8:200] = bytes(192)
    with pytest.raises(ImageError, match="TIFF image is damaged"):
        preprocess(bytes(data), SPEC)
    assert capfd.readouterr().err == ""
