"""Any image with any manifest gives pixels of the right shape, or a refusal."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convoy.artifact.errors import ImageError
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import ImageLimits, preprocess
from convoy.artifact.resize import resized_size
from tests.fuzz.seeds import all_images
from tests.harness.images import encode

SEEDS = all_images()


@st.composite
def specs(draw: st.DrawFn) -> Preprocessing:
    """Any preprocessing: by the shorter side, squashed, or in a letterbox."""
    color = draw(st.sampled_from(["RGB", "BGR", "L"]))
    height, width, crop = (draw(st.integers(1, 40)) for _ in range(3))
    side, fill = min(height, width), draw(st.integers(0, 255))
    kind = draw(st.sampled_from(["shorter side", "squashed", "letterbox"]))
    filters = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
    interpolation = draw(st.sampled_from(filters))
    is_sampled = interpolation in ("nearest", "bilinear", "bicubic")
    return Preprocessing(
        color=color,
        resize_px=side if kind == "shorter side" else (height, width),
        letterbox=(fill,) * (1 if color == "L" else 3) if kind == "letterbox" else None,
        crop_height_px=min(side, crop),
        crop_width_px=min(side, crop + 1),
        crop_offset=draw(st.sampled_from(["even", "down"])),
        pad_px=draw(st.integers(0, 3)),
        interpolation=interpolation,
        antialias=not is_sampled or draw(st.booleans()),
    )


@st.composite
def images(draw: st.DrawFn) -> Image.Image:
    """An image of any size up to 24x24, grey or of colours, of noise."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width, 3))
    return Image.fromarray(noise.astype(np.uint8)).convert(draw(st.sampled_from(["RGB", "L"])))


@given(image=images(), spec=specs())
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


@given(image=images(), spec=specs(), most=st.integers(1, 400))
def test_limit_on_pixels(image: Image.Image, spec: Preprocessing, most: int) -> None:
    """
    An image of more pixels than allowed is refused; so is one that would have them once resized.
    """
    data, limits = encode(image), ImageLimits(max_pixels=most)
    width, height = resized_size(image.size, spec)
    pixels = max(image.width * image.height, width * height)
    try:
        preprocess(data, spec, limits)
    except ImageError:
        assert pixels > most
    else:
        assert pixels <= most
