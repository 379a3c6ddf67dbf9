"""Resizing and cropping give the pixels of the programs that networks were trained with."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from timm.data.transforms_factory import create_transform
from torchvision.transforms import v2

from convoy.artifact.errors import ImageTooLargeError
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import ImageLimits, preprocess
from convoy.artifact.resize import fit, resized_size
from tests.harness.images import encode

SIZES = [(61, 47), (47, 61), (320, 160), (24, 24), (9, 7), (199, 3)]


def photo(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """An image with noise and edges, which show each pixel that is off."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


def spec(resize_px: Any, crop: tuple[int, int], **changes: Any) -> Preprocessing:
    height, width = crop
    fields = {"color": "RGB", "crop_height_px": height, "crop_width_px": width, **changes}
    return Preprocessing(resize_px=resize_px, **fields)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("filter_", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_squashed_as_pillow(size: tuple[int, int], filter_: Any) -> None:
    """
    An image squashed to height and width has Pillow's pixels, as in Keras and transformers.
    """
    expected = photo(size).resize((32, 24), Image.Resampling[filter_.upper()])
    found = fit(photo(size), spec((24, 32), (24, 32), interpolation=filter_))
    assert np.array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize_px", [24, (28, 26)])
def test_cropped_as_torchvision(size: tuple[int, int], resize_px: Any) -> None:
    """
    A shorter side, or height and width, and a centre crop mean what they mean in torchvision.
    """
    size_ = resize_px if isinstance(resize_px, int) else list(resize_px)
    reference = v2.Compose([v2.Resize(size_), v2.CenterCrop((21, 20))])
    assert np.array_equal(
        fit(photo(size), spec(resize_px, (21, 20))), np.asarray(reference(photo(size)))
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize_px", [24, (40, 26)])
@pytest.mark.parametrize("filter_", ["bilinear", "bicubic"])
def test_not_antialiased_as_torchvision(
    size: tuple[int, int], resize_px: Any, filter_: Any
) -> None:
    """
    Without antialiasing, pixels are those that PyTorch gives a tensor, but for rounding.
    """
    mode = v2.InterpolationMode[filter_.upper()]
    reference = v2.Compose(
        [
            v2.PILToTensor(),
            v2.ToDtype(torch.float64),
            v2.Resize(
                resize_px if isinstance(resize_px, int) else list(resize_px),
                mode,
                antialias=False,
            ),
            v2.CenterCrop((20, 22)),
        ]
    )
    expected = reference(photo(size)).permute(1, 2, 0).clip(0, 255).numpy()
    found = fit(photo(size), spec(resize_px, (20, 22), interpolation=filter_, antialias=False))
    assert np.abs(found - expected).max() <= 0.51


@pytest.mark.parametrize("size", SIZES[:-1])  # timm fails for one that is so elongated
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
def test_letterbox_as_timm(size: tuple[int, int], crop_pct: float) -> None:
    """
    An image that keeps its ratio on a coloured ground is timm's with the crop mode `border`.
    """
    mean = (0.5, 0.25, 0.75)
    reference = create_transform(
        (3, 24, 24),
        crop_mode="border",
        interpolation="bicubic",
        mean=mean,
        crop_pct=crop_pct,
        normalize=False,
    )
    expected = reference(photo(size)).permute(1, 2, 0).numpy()
    side = int(24 / crop_pct)
    found = fit(
        photo(size),
        spec((side, side), (24, 24), interpolation="bicubic", letterbox=(128, 64, 191)),
    )
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("width", range(24, 36))
def test_crop_offset_as_transformers(width: int) -> None:
    """
    An offset is rounded to an even number or down: half of the odd ones differ by one pixel.
    """
    image = photo((width, 24))
    even, down = (
        fit(image, spec(24, (24, 20), crop_offset=rounding)) for rounding in ("even", "down")
    )
    pixels = np.asarray(image)
    assert np.array_equal(down, pixels[:, (width - 20) // 2 :][:, :20])
    assert np.array_equal(even, pixels[:, round((width - 20) / 2) :][:, :20])


@pytest.mark.parametrize("antialias", [True, False])
def test_grey_and_bgr(antialias: bool) -> None:
    """
    Grey images have one channel; the ground of a letterbox has the channels' order.
    """
    grey = fit(photo((50, 20), "L"), spec((8, 9), (8, 9), color="L", antialias=antialias))
    assert grey.shape == (8, 9, 1)
    boxed = spec((8, 8), (8, 8), color="BGR", letterbox=(1, 2, 3), antialias=antialias)
    bgr = fit(Image.new("RGB", (50, 20), (10, 20, 30)), boxed)
    assert bgr[0, 0].tolist() == [1, 2, 3]
    assert bgr[4, 4].tolist() == [30, 20, 10]


def test_pixel_limit_of_a_squashed_image() -> None:
    """
    The limit on pixels counts those after resizing, however it is done.
    """
    data = encode(photo((9, 7)))
    squashed = spec((100, 200), (100, 200))
    preprocess(data, squashed, ImageLimits(max_pixels=20_000))
    with pytest.raises(ImageTooLargeError, match="200x100"):
        preprocess(data, squashed, ImageLimits(max_pixels=19_999))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resize_px": (10, 30)}, "crop must not be larger"),
        ({"resize_px": (30, 10)}, "crop must not be larger"),
        ({"resize_px": 20, "letterbox": (0, 0, 0)}, "a letterbox needs a height and a width"),
        ({"resize_px": (9, 9), "letterbox": (0,)}, "letterbox must have one number per channel"),
        ({"resize_px": 20, "interpolation": "lanczos", "antialias": False}, "lanczos needs"),
    ],
)
def test_steps_that_disagree(fields: dict[str, Any], message: str) -> None:
    """
    Steps that contradict each other are refused.
    """
    with pytest.raises(ValidationError, match=message):
        spec(**{"crop": (20, 20), **fields})


def test_description() -> None:
    """
    The steps in words name what is done, and nothing else.
    """
    assert spec(256, (224, 200), pad_px=2).description == (
        "RGB, shorter side resized to 256 (bilinear), cropped to 224x200, padded by 2"
    )
    assert spec((24, 32), (24, 32), interpolation="nearest").description == (
        "RGB, squashed to 24x32 (nearest)"
    )
    assert spec((24, 24), (24, 24), antialias=False, letterbox=(1, 2, 3)).description == (
        "RGB, resized to fit into 24x24 (bilinear, not antialiased), filled with (1, 2, 3)"
    )


@pytest.mark.parametrize("filter_", ["box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize("resize_px", [256, 232, 64])
def test_part_that_is_cropped(filter_: Any, resize_px: int) -> None:
    """
    Pixels that the crop cuts off are not computed, and the others are as if they were: in Pillow's
    order of rows and columns, which depends on the sizes, and with its rounding.
    """
    dice = np.random.default_rng(resize_px)
    sizes = [(500, 375), (375, 500), (455, 256), (85, 544), (271, 40), (300, 290)]
    for size in [*sizes, *dice.integers(30, 600, (6, 2)).tolist()]:
        image = photo(tuple(size))
        height, width = dice.integers(1, resize_px + 1, 2).tolist()
        wanted = spec(resize_px, (height, width), interpolation=filter_)
        resized = resized_size(image.size, wanted)
        left, top = round((resized[0] - width) / 2), round((resized[1] - height) / 2)
        whole = np.asarray(image.resize(resized, Image.Resampling[filter_.upper()]))
        expected = whole[top : top + height, left : left + width]
        assert np.array_equal(fit(image, wanted), expected), (size, width, height)
