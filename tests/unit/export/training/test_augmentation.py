import dataclasses

import pytest
import torch
from PIL import Image

from convoy.artifact.manifest import Preprocessing
from convoy.artifact.scaled_decoding import choose_scale
from convoy.export.normalization import Normalize
from convoy.export.recipes.recipe import Affine, PhotoCrop
from convoy.export.training.augmentation import Lighting, distort, photo_transform, uncropped

STILL = Affine(rotation_deg=0, translation=0, scale=0, shear_deg=0)


def test_normalize() -> None:
    """
    Pixels become (pixel / 255 - mean) / std, channels first.
    """
    images = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    normalized = Normalize((0.2, 0.4), (0.5, 0.25))(images)
    expected = torch.tensor([[[[-0.4], [0.0]], [[2.4], [0.0]]]])
    assert torch.allclose(normalized, expected, atol=1e-6)


def test_no_distortion_changes_nothing() -> None:
    """
    With every bound at zero the images stay as they are.
    """
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    distorted = distort(images, STILL, torch.Generator().manual_seed(0))
    assert torch.allclose(distorted, images, atol=1e-5)


@pytest.mark.parametrize("field", ["rotation_deg", "translation", "scale", "shear_deg"])
def test_each_distortion_moves_each_image(field: str) -> None:
    """
    Each bound has an effect, a different one on each image, and only black moves in.
    """
    images = torch.zeros(2, 1, 16, 16)
    images[:, :, 4:10, 5:11] = 1
    affine = dataclasses.replace(STILL, **{field: 30 if "deg" in field else 0.3})
    distorted = distort(images, affine, torch.Generator().manual_seed(1))
    assert not torch.allclose(distorted[0], images[0], atol=0.01)
    assert not torch.allclose(distorted[0], distorted[1], atol=0.01)
    assert distorted.min() >= 0
    assert distorted.max() <= 1 + 1e-5


@pytest.mark.parametrize(
    "crop",
    [
        PhotoCrop(short_side_px=(40, 60), lighting_std=0.1),
        PhotoCrop(area=(0.08, 1.0), color_jitter=0.4),
        PhotoCrop(pad_px=4),
    ],
)
def test_photographs_become_pixels_of_one_size(crop: PhotoCrop) -> None:
    """
    Whatever the photograph's size, the crop has the network's; the seed decides which it is.
    """
    image = Image.radial_gradient("L").convert("RGB").resize((90, 50))
    transform = photo_transform(crop, 32)

    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return transform(image)

    assert draw(0).shape == (32, 32, 3)
    assert draw(0).dtype == torch.uint8
    assert torch.equal(draw(0), draw(0))
    assert any(not torch.equal(draw(0), draw(seed)) for seed in range(1, 5))


def test_short_side_is_drawn_from_its_range() -> None:
    """
    The share of the photograph that a crop sees follows from the drawn size.
    """
    image = Image.linear_gradient("L").convert("RGB")  # 256 x 256, brightness is the row
    transform = photo_transform(PhotoCrop(short_side_px=(32, 64)), 32)
    torch.manual_seed(0)
    spans = [int(pixels.max()) - int(pixels.min()) for pixels in map(transform, [image] * 50)]
    assert min(spans) < 140  # about half of 256 rows
    assert max(spans) > 220  # nearly all of them


def test_lighting_moves_all_pixels_alike() -> None:
    """
    The colour of the light changes, not the picture.
    """
    torch.manual_seed(0)
    pixels = torch.full((3, 4, 4), 128, dtype=torch.uint8)
    lit = Lighting(0.1)(pixels)
    assert (lit == lit[:, :1, :1]).all()
    assert not torch.equal(lit, pixels)


@pytest.mark.parametrize(
    ("crop", "scale"),
    [
        (PhotoCrop(area=(0.08, 1.0)), 1),
        (PhotoCrop(area=(0.35, 1.0)), 2),
        (PhotoCrop(short_side_px=(256, 480)), 2),
        (PhotoCrop(pad_px=4), 4),
    ],
)
def test_photographs_are_decoded_for_the_smallest_crop(crop: PhotoCrop, scale: int) -> None:
    """
    A random crop of a scaled photograph has at least twice the pixels per side that it becomes.
    """
    spec = Preprocessing(
        scaled_decoding=True, color="RGB", resize_px=256, crop_height_px=224, crop_width_px=224
    )
    assert choose_scale((4000, 3000), uncropped(spec, crop)) == scale
    full = spec.model_copy(update={"scaled_decoding": False})
    assert choose_scale((4000, 3000), uncropped(full, crop)) == 1
