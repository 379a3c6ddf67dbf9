"""Any image with any manifest gives pixels of the right shape, or a refusal."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convoy.artifact.errors import ImageError
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import ImageLimits, preprocess
from tests.fuzz.seeds import corpus
from tests.harness.images import encode

SEEDS = corpus("images")

specs = st.builds(
    lambda side, crop, pad, color, interpolation: Preprocessing(
        color=color,
        resize_px=side,
        crop_height_px=min(side, crop),
        crop_width_px=min(side, crop + 1),
        pad_px=pad,
        interpolation=interpolation,
    ),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 3),
    st.sampled_from(["RGB", "BGR", "L"]),
    st.sampled_from(["bilinear", "bicubic", "lanczos"]),
)


@st.composite
def images(draw: st.DrawFn) -> Image.Image:
    """An image of any size up to 24x24, grey or of colours, of noise."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width, 3))
    return Image.fromarray(noise.astype(np.uint8)).convert(draw(st.sampled_from(["RGB", "L"])))


@given(image=images(), spec=specs)
def test_lossless_formats_agree(image: Image.Image, spec: Preprocessing) -> None:
    """
    The same pixels in PNG, BMP and lossless WebP are the same to the model, in the shape it wants.
    """
    encoded = (
        encode(image),
        encode(image, "BMP"),
        encode(image.convert("RGB"), "WEBP", lossless=True, exact=True),
    )
    first, second, third = (preprocess(data, spec) for data in encoded)
    shape = (
        spec.crop_height_px + 2 * spec.pad_px,
        spec.crop_width_px + 2 * spec.pad_px,
        spec.channels,
    )
    assert first.shape == shape
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)


@given(data=st.binary(max_size=200), start=st.sampled_from([*SEEDS.values()]), kept=st.floats(0, 1))
def test_any_bytes(data: bytes, start: bytes, kept: float) -> None:
    """
    Bytes that begin as an image does and go on in any way are pixels, or refused.
    """
    spec = Preprocessing(color="RGB", resize_px=8, crop_height_px=8, crop_width_px=8)
    try:
        pixels = preprocess(start[: int(kept * len(start))] + data, spec)
    except ImageError:
        return
    assert pixels.shape == (8, 8, 3)


@given(image=images(), spec=specs, most=st.integers(1, 400))
def test_limit_on_pixels(image: Image.Image, spec: Preprocessing, most: int) -> None:
    """
    An image of more pixels than allowed is refused; so is one that would have them once resized.
    """
    data, limits = encode(image), ImageLimits(max_pixels=most)
    resized = spec.resize_px**2  # at least
    try:
        preprocess(data, spec, limits)
    except ImageError:
        assert max(image.width * image.height, resized * max(image.size) / min(image.size)) >= most
    else:
        assert max(image.width * image.height, resized) <= most
