"""TIFFs are read as they are meant, whatever their kind, order and layout; or they are refused."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from convoy.artifact.errors import ImageError
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import decode
from tests.harness import tiffs
from tests.harness.tiffs import Layout, Tiff

SPEC = Preprocessing(color="RGB", resize_px=30, crop_height_px=30, crop_width_px=30)

COLORS = np.zeros((30, 40, 3), np.int64)
COLORS[:, :, 0] = np.linspace(0, 255, 40)
COLORS[:, :, 1] = np.linspace(0, 255, 30)[:, None]
COLORS[:, :, 2] = 60
GREY = COLORS[:, :, :1]
ALPHA = np.repeat([0, 128, 255], 10)[:, None, None].repeat(40, axis=1)


def scaled(values: np.ndarray, bits: int) -> np.ndarray:
    """Turn values of 8 bits into values of *bits*, black and white into black and white."""
    return values * ((1 << bits) - 1) // 255


def over_white(colors: np.ndarray) -> np.ndarray:
    """Lay colours over white."""
    return (colors * ALPHA + 255 * (255 - ALPHA) + 127) // 255


def layouts(bits: int, channels: int = 1) -> Iterator[Layout]:
    """Yield all layouts that a page may have."""
    compressions = (tiffs.RAW, tiffs.DEFLATE, tiffs.PACKBITS)
    for order, compression, predictor, separate, is_reversed, blocks in itertools.product(
        "<>", compressions, (1, 2), (False, True), (False, True), ({}, {"rows": 7}, {"tile": 16})
    ):
        # libtiff takes differences of whole bytes only, and turns bits around in 8 at most.
        if predictor == 2 and (compression != tiffs.DEFLATE or bits < 8):
            continue
        if is_reversed and (bits > 8 or channels == 4):
            continue
        yield Layout(
            order=order,
            compression=compression,
            predictor=predictor,
            separate=separate,
            reversed_bits=is_reversed,
            **blocks,
        )


def assert_shows(tiff: Tiff, expected: np.ndarray, tolerance: int = 1) -> None:
    """Assert that *tiff* shows *expected* in all layouts that are read."""
    channels = tiff.values.shape[2]
    for layout in layouts(tiff.bits, channels):
        pixels = np.asarray(decode(tiff.encode(layout), SPEC)).astype(int)
        assert np.abs(pixels - expected).max() <= tolerance, layout


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("photometric", [tiffs.MIN_IS_WHITE, tiffs.MIN_IS_BLACK])
def test_grey(bits: int, photometric: int) -> None:
    """
    The least value is white or black, as the file says.
    """
    values = scaled(GREY, bits)
    expected = (values * 255 // ((1 << bits) - 1)).repeat(3, axis=2)
    if photometric == tiffs.MIN_IS_WHITE:
        values = (1 << bits) - 1 - values
    assert_shows(Tiff(values, bits, photometric), expected)


@pytest.mark.parametrize("photometric", [tiffs.MIN_IS_WHITE, tiffs.MIN_IS_BLACK])
@pytest.mark.parametrize("order", "<>")
def test_grey_of_16_bits(order: str, photometric: int) -> None:
    """
    The upper 8 of 16 bits count, white or black; the combination that Pillow lacks is refused.
    """
    values = scaled(GREY, 16)
    expected = (values >> 8).repeat(3, axis=2)
    if photometric == tiffs.MIN_IS_WHITE:
        values = 65535 - values
    for layout in (Layout(order=order), Layout(order=order, compression=tiffs.DEFLATE, rows=7)):
        data = Tiff(values, 16, photometric).encode(layout)
        if (order, photometric) == (">", tiffs.MIN_IS_WHITE):
            with pytest.raises(ImageError, match=r"kind that is not decoded.*8 bits per channel"):
                decode(data, SPEC)
        else:
            assert np.array_equal(np.asarray(decode(data, SPEC)), expected)


def test_grey_of_12_bits() -> None:
    """
    The upper 8 of 12 bits count.
    """
    values = scaled(GREY, 12)
    bits = values >> np.arange(12)[::-1] & 1
    packed = np.packbits(bits.reshape(30, -1).astype(bool), axis=1)[:, :, None]
    tiff = Tiff(packed, 8, tiffs.MIN_IS_BLACK, {258: [12], 256: [40]})
    for compression in (tiffs.RAW, tiffs.DEFLATE):
        pixels = np.asarray(decode(tiff.encode(Layout(compression=compression)), SPEC))
        assert np.array_equal(pixels, (values >> 4).repeat(3, axis=2))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("factor", [1, 257])
def test_palette(bits: int, factor: int) -> None:
    """
    The colours of a palette have 16 bits, or 8 in files of old programs.
    """
    palette = np.random.default_rng(0).integers(0, 256, (3, 1 << bits))
    palette[0, 0] = 255  # so that 8 bits are told from 16
    values = scaled(GREY, bits)
    tiff = Tiff(values, bits, tiffs.PALETTE, {320: (palette * factor).ravel()})
    assert_shows(tiff, palette[:, values[:, :, 0]].transpose(1, 2, 0), tolerance=0)


@pytest.mark.parametrize("bits", [8, 16])
def test_colors(bits: int) -> None:
    """
    RGB and CMYK have 8 or 16 bits.
    """
    for colors in (COLORS, 255 - COLORS):
        assert_shows(Tiff(scaled(colors, bits), bits, tiffs.RGB), colors)
    inks = np.concatenate([255 - COLORS, 0 * GREY], axis=2)
    assert_shows(Tiff(scaled(inks, bits), bits, tiffs.CMYK), COLORS)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_alpha(bits: int, kind: int) -> None:
    """
    A fourth channel is nothing (0), an alpha that colours were multiplied by (1), or another (2).
    """
    colors = COLORS * ALPHA // 255 if kind == 1 else COLORS
    values = scaled(np.concatenate([colors, ALPHA], axis=2), bits)
    expected = over_white(COLORS) if kind else COLORS
    assert_shows(Tiff(values, bits, tiffs.RGB, {338: [kind]}), expected, 2)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_grey_with_alpha(kind: int) -> None:
    """
    Grey with alpha is read if the two alternate, and refused in planes of their own.
    """
    grey = GREY * ALPHA // 255 if kind == 1 else GREY
    tiff = Tiff(np.concatenate([grey, ALPHA], axis=2), 8, tiffs.MIN_IS_BLACK, {338: [kind]})
    expected = (over_white(GREY) if kind else GREY).repeat(3, axis=2)
    for compression in (tiffs.RAW, tiffs.DEFLATE):
        pixels = np.asarray(decode(tiff.encode(Layout(compression=compression)), SPEC))
        assert np.abs(pixels.astype(int) - expected).max() <= 2
        separate = tiff.encode(Layout(compression=compression, separate=True))
        if kind:
            with pytest.raises(ImageError, match="plane of its own; save it with interleaved"):
                decode(separate, SPEC)
        else:
            assert np.array_equal(np.asarray(decode(separate, SPEC)), expected)


def test_brightness_with_colour_differences() -> None:
    """
    YCbCr is converted to RGB, also where four pixels share their colour.
    """
    values = np.concatenate([GREY, 0 * GREY + 128, 0 * GREY + 128], axis=2)
    tiff = Tiff(values, 8, tiffs.YCC, {530: [1, 1]})
    expected = GREY.repeat(3, axis=2)
    for layout in (Layout(), Layout(rows=7), Layout(compression=tiffs.DEFLATE)):
        pixels = np.asarray(decode(tiff.encode(layout), SPEC)).astype(int)
        assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize(
    ("tiff", "problem"),
    [
        (Tiff(GREY, 8, tiffs.MIN_IS_BLACK, {339: [2]}), "signed values.*save it with 8"),
        (Tiff(GREY, 16, tiffs.MIN_IS_BLACK, {339: [2]}), "signed values.*save it with 8"),
        (Tiff(COLORS, 8, 8), "LAB"),
        (Tiff(GREY, 8, 4), "kind that is not decoded"),
        (Tiff(COLORS.repeat(3, axis=2), 8, tiffs.MIN_IS_BLACK), "kind that is not decoded"),
        (Tiff(np.dstack([COLORS, GREY]), 8, tiffs.CMYK, {332: [2]}), "inks other than CMYK"),
    ],
)
def test_other_kinds(tiff: Tiff, problem: str) -> None:
    """
    Values whose brightness or colour is not known are refused, never shown as something else.
    """
    with pytest.raises(ImageError, match=problem):
        decode(tiff.encode(), SPEC)


def test_values_without_a_meaning() -> None:
    """
    A file that does not say whether 0 is black or white is refused.
    """
    data = Tiff(GREY, 8, tiffs.MIN_IS_BLACK).encode()
    place = data.index((262).to_bytes(2, "little") + b"\3\0\1\0\0\0")
    data = data[:place] + (261).to_bytes(2, "little") + data[place + 2 :]
    with pytest.raises(ImageError, match="does not tell what its values mean"):
        decode(data, SPEC)
