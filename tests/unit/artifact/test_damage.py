"""Damage is refused in each format, as far as the format reveals it, and intact files are not."""

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from convoy.artifact import image_formats
from convoy.artifact.damage import lzw
from convoy.artifact.errors import ImageError
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import decode
from tests.fuzz.jpegs import photograph
from tests.harness import tiffs
from tests.harness.images import encode
from tests.harness.tiffs import Layout, Tiff

SPEC = Preprocessing(color="RGB", resize_px=32, crop_height_px=32, crop_width_px=32)

STRIPS = {"strip_size": 8192}

WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "PNG": ("PNG", {}),
    "small PNG": ("PNG", {}),
    "GIF": ("GIF", {}),
    "lossy WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "AVIF": ("AVIF", {"speed": 10}),
    "HEIC": ("HEIF", {}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "TIFF with LZW": ("TIFF", {"compression": "tiff_lzw", **STRIPS}),
    "TIFF with deflate": ("TIFF", {"compression": "tiff_adobe_deflate", **STRIPS}),
    "TIFF with PackBits": ("TIFF", {"compression": "packbits"}),
    "TIFF with JPEG": ("TIFF", {"compression": "jpeg"}),
    "TIFF with CCITT 4": ("TIFF", {"compression": "group4"}),
    "TIFF with CCITT 3": ("TIFF", {"compression": "group3"}),
}
"""Ways of saving an image: Pillow's format and options."""

HEIC = pytest.param(
    "HEIC", marks=pytest.mark.skipif(not image_formats.HAS_HEIF, reason="needs the extra heif")
)


def saved(way: str, dice: random.Random) -> bytes:
    """Save a photograph in one of `WAYS`."""
    image = photograph(dice)
    if way == "small PNG":
        image = image.resize((12, 9))
    elif "CCITT" in way:
        image = image.convert("1")
    elif "PackBits" in way:
        image = image.quantize(8).convert("L")
    file_format, options = WAYS[way]
    return encode(image, file_format, **options)


def cut(data: bytes, dice: random.Random) -> bytes:
    """Cut a file anywhere."""
    return data[: dice.randrange(8, len(data) - 2)]


def zeroed(data: bytes, dice: random.Random) -> bytes:
    """Overwrite a part of the second half of a file, where its pixels are, with zeros."""
    length = min(64, len(data) // 4)
    place = dice.randrange(len(data) // 2, len(data) - length)
    return data[:place] + bytes(length) + data[place + length :]


def flipped(data: bytes, dice: random.Random) -> bytes:
    """Flip a bit in the second half of a file."""
    place = dice.randrange(len(data) // 2, len(data) - 16)
    return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]


def garbled(data: bytes, dice: random.Random) -> bytes:
    """Overwrite a part of the second half of a file with noise."""
    length = min(64, len(data) // 4)
    place = dice.randrange(len(data) // 2, len(data) - length)
    return data[:place] + dice.randbytes(length) + data[place + length :]


Harm = Callable[[bytes, random.Random], bytes]


def wrong_share(sound: bytes, data: bytes) -> float | None:
    """Return the share of wrong pixels that *data* is accepted with; None if it is refused."""
    try:
        pixels = np.asarray(decode(data, SPEC)).astype(int)
    except ImageError:
        return None
    expected = np.asarray(decode(sound, SPEC)).astype(int)
    return float((np.abs(pixels - expected).max(axis=2) > 16).mean())


def shares(way: str, harm: Harm, count: int = 8) -> list[float | None]:
    """Damage several images, and return `wrong_share` of each."""
    dice = random.Random(5)
    images = [saved(way, dice) for _ in range(count)]
    return [wrong_share(sound, harm(sound, dice)) for sound in images]


@pytest.mark.parametrize("way", [HEIC if way == "HEIC" else way for way in WAYS])
def test_truncated(way: str) -> None:
    """
    A file that ends too early is refused in every format.
    """
    assert shares(way, cut) == [None] * 8


@pytest.mark.parametrize("harm", [zeroed, flipped, garbled])
@pytest.mark.parametrize("way", ["PNG", "small PNG", "TIFF with deflate"])
def test_checksums(way: str, harm: Harm) -> None:
    """
    Formats with checksums reveal any damage.
    """
    assert shares(way, harm) == [None] * 8


@pytest.mark.parametrize("harm", [zeroed, flipped, garbled])
@pytest.mark.parametrize("way", ["GIF", "TIFF with LZW", "TIFF with PackBits"])
def test_lengths(way: str, harm: Harm) -> None:
    """
    If a wrong length reveals damage, accepted images have nearly all of their pixels.
    """
    assert all(share is None or share <= 0.02 for share in shares(way, harm))


@pytest.mark.parametrize("way", ["lossy WebP", "AVIF", HEIC, "TIFF with JPEG", "TIFF with CCITT 4"])
def test_zeros(way: str) -> None:
    """
    A part that was overwritten with zeros, as lost blocks are, is refused.
    """
    assert shares(way, zeroed).count(None) >= 7


@pytest.mark.parametrize("way", ["lossy WebP", "TIFF with CCITT 4"])
@pytest.mark.parametrize("harm", [flipped, garbled])
def test_data_that_end_elsewhere(way: str, harm: Harm) -> None:
    """
    Most damage makes these decoders end elsewhere or meet an impossible code.
    """
    assert shares(way, harm).count(None) >= 7


@pytest.mark.parametrize("way", [HEIC if way == "HEIC" else way for way in WAYS])
def test_intact(way: str) -> None:
    """
    Intact files are accepted, with bytes behind them too.
    """
    dice = random.Random(6)
    for _ in range(5):
        sound = saved(way, dice)
        assert wrong_share(sound, sound + b"behind the image" + bytes(100)) == 0


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("GIF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"quality": 5}),
        ("WEBP", {"quality": 100, "method": 0}),
        ("WEBP", {"lossless": True, "method": 0}),
        ("AVIF", {"speed": 10}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 64), (400, 200)])
@pytest.mark.parametrize("kind", ["flat", "noisy", "half", "transparent"])
def test_odd_images_are_intact(
    file_format: str, options: dict[str, object], size: tuple[int, int], kind: str
) -> None:
    """
    Flat, noisy and half flat images, whose data have long runs of one value, are accepted.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    if kind != "noisy":
        pixels[: 1 + size[1] // 2 if kind == "half" else None] = 255
    image = Image.fromarray(pixels)
    if kind == "transparent":
        image.putalpha(Image.effect_noise(size, 60))
    decode(encode(image, file_format, **options), SPEC)


def test_comment_of_a_png_with_a_wrong_checksum() -> None:
    """
    A damaged comment behind the pixels does not matter.
    """
    sound = encode(photograph(random.Random(1)), "PNG")
    end = sound.rindex(b"IEND") - 4
    comment = struct.pack(">I4s", 3, b"tEXt") + b"a\0b" + bytes(4)
    assert wrong_share(sound, sound[:end] + comment + sound[end:]) == 0


def test_png_without_its_end() -> None:
    """
    A PNG whose last chunk is missing is truncated.
    """
    sound = encode(photograph(random.Random(1)), "PNG")
    assert wrong_share(sound, sound[: sound.rindex(b"IEND") - 4]) is None


def test_animations_count_up_to_their_second_frame() -> None:
    """
    Only the first frame of an animation is read.
    """
    frames = [Image.new("RGB", (30, 20), color) for color in ("red", "blue")]
    for file_format, mark in (("PNG", b"fdAT"), ("GIF", b",")):
        sound = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
        assert wrong_share(sound, sound[: sound.rindex(mark) + 6]) == 0


def test_gif_with_a_delay_that_looks_like_a_frame() -> None:
    """
    The frame is not looked for in the extension before it.
    """
    image = photograph(random.Random(2))
    sound = encode(image, "GIF", duration=440, transparency=255)  # 44 is the mark of a frame
    assert wrong_share(sound, sound) == 0


def test_tiff_with_a_wrong_checksum() -> None:
    """
    Each strip counts, the last one too.
    """
    sound = bytearray(saved("TIFF with deflate", random.Random(3)))
    with TiffImagePlugin.TiffImageFile(io.BytesIO(bytes(sound))) as page:
        places, sizes = page.tag_v2[273], page.tag_v2[279]
    for place, size in zip(places, sizes, strict=True):
        data = bytearray(sound)
        zlib.decompress(bytes(data[place : place + size]))
        data[place + size - 1] ^= 1
        assert wrong_share(bytes(sound), bytes(data)) is None


def compress(values: bytes, bits: int, *, is_tiff: bool, clears: bool, ends: bool) -> bytes:
    """Compress as GIF or TIFF do; without clear codes when the table is full, if not *clears*."""
    clear, codes = 1 << bits, list[tuple[int, int]]()
    table, width, following = {bytes([v]): v for v in range(clear)}, bits + 1, clear + 2
    codes.append((clear, width))
    current = b""
    for value in values:
        longer = current + bytes([value])
        if longer in table:
            current = longer
            continue
        codes.append((table[current], width))
        current = bytes([value])
        if following < 4096 - 2 * is_tiff:
            table[longer] = following
            following += 1
            width += following + is_tiff > 1 << width and width < 12
        elif clears:
            codes.append((clear, width))
            table, width = {bytes([v]): v for v in range(clear)}, bits + 1
            following = clear + 2
    if current:
        codes.append((table[current], width))
    if ends:
        following += 1
        width += following + is_tiff > 1 << width and width < 12
        codes.append((clear + 1, width))
    if is_tiff:
        text = "".join(f"{code:0{width}b}" for code, width in codes)
        return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))
    text = "".join(f"{code:0{width}b}"[::-1] for code, width in codes)
    return int(text[::-1], 2).to_bytes(-(-len(text) // 8), "little")


@given(st.integers(2, 8), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 20_000))
def test_lzw_counts(bits: int, is_tiff: bool, clears: bool, ends: bool, length: int) -> None:
    """
    The count is the number of values, with and without clear codes and an end code.
    """
    if is_tiff:
        bits, clears = 8, True
    noise = np.random.default_rng(length).normal(0, 1, length)
    values = (np.abs(noise) * 20 % (1 << bits)).astype(np.uint8).tobytes()
    data = compress(values, bits, is_tiff=is_tiff, clears=clears, ends=ends)
    counted, ended, _ = lzw.Variant(bits, is_tiff).count(data)
    assert ended is ends
    # Without an end code, what fills the last byte may count as a code.
    assert counted == length if ends else counted is not None and counted >= length


def test_lzw_in_too_many_pieces() -> None:
    """
    Data of nothing but clear codes take no time.
    """
    assert lzw.Variant(7, is_tiff=False).count(b"\x80" * 2_000_000).values is None


def test_tiles_that_share_their_bytes() -> None:
    """
    Blank tiles may lie in one place; so may hostile ones, which are not read again and again.
    """
    white = Tiff(np.full((160, 160, 1), 255), 8, tiffs.MIN_IS_BLACK)
    data = white.encode(Layout(compression=tiffs.DEFLATE, tile=16))
    page = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    places = page.tag_v2[324]
    shared = data.replace(
        struct.pack(f"<{len(places)}I", *places), struct.pack("<I", places[0]) * len(places)
    )
    assert shared != data
    assert (np.asarray(decode(shared, SPEC)) == 255).all()


def test_jpeg_in_a_tiff_that_claims_more_pixels() -> None:
    """
    A JPEG that is larger than its strip is refused before memory is made for it.
    """
    sound = saved("TIFF with JPEG", random.Random(8))
    at = sound.index(b"\xff\xc0") + 5
    assert wrong_share(sound, sound[:at] + b"\xff\xff\xff\xff" + sound[at + 4 :]) is None
