"""Random changes of training images, anew in each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from convoy.artifact.manifest import Preprocessing
from convoy.export.recipes.recipe import Affine, PhotoCrop


def distort(images: Tensor, affine: Affine, random: torch.Generator) -> Tensor:
    """Apply a random affine map to each of *images*, float32 `[N, C, H, W]`; new pixels are 0."""
    count = len(images)

    def draw(bound: float) -> Tensor:
        return (torch.rand(count, generator=random) * 2 - 1) * bound

    angle, zoom = draw(math.radians(affine.rotation_deg)), 1 + draw(affine.scale)
    shear = draw(math.radians(affine.shear_deg))
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    first = torch.stack([cos, shear - sin, draw(affine.translation)], dim=1)
    second = torch.stack([sin, cos, draw(affine.translation)], dim=1)
    maps = torch.stack([first, second], 1).to(images.device)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def uncropped(spec: Preprocessing, crop: PhotoCrop) -> Preprocessing:
    """
    Return the preprocessing whose decoded images are large enough for any random *crop*.

    It is *spec*, resized to more pixels where the crop takes a part of the image.
    """
    side_px = float(spec.height)
    if crop.area is not None:
        side_px /= math.sqrt(crop.area[0])
    elif crop.short_side_px is not None:
        side_px = crop.short_side_px[1]
    return spec.model_copy(update={"resize_px": math.ceil(side_px), "letterbox": None})


def photo_transform(crop: PhotoCrop, size_px: int) -> Callable[[Image.Image], Tensor]:
    """Make the function from a decoded photograph to uint8 `[H, W, C]`; H and W are *size_px*."""
    steps: list[nn.Module] = []
    # Inception's crops: a part of the image, of any size and nearly any shape.
    if crop.area is not None:
        steps.append(v2.RandomResizedCrop(size_px, crop.area, antialias=True))
    # VGG's and ResNet's: a square of the input's size, from an image of a random scale.
    elif crop.short_side_px is not None:
        steps += [ScaleJitter(*crop.short_side_px), v2.RandomCrop(size_px)]
    # CIFAR's: the whole image, shifted.
    else:
        steps += [v2.Resize((size_px, size_px)), v2.RandomCrop(size_px, padding=crop.pad_px)]
    steps.append(v2.RandomHorizontalFlip())
    if crop.color_jitter:
        steps.append(v2.ColorJitter(crop.color_jitter, crop.color_jitter, crop.color_jitter))
    steps.append(v2.PILToTensor())
    if crop.lighting_std:
        steps.append(Lighting(crop.lighting_std))
    transform = v2.Compose(steps)

    def apply(image: Image.Image) -> Tensor:
        pixels: Tensor = transform(image)
        return pixels.permute(1, 2, 0).contiguous()

    return apply


class ScaleJitter(nn.Module):
    """Resize the shorter side to a length drawn evenly from `[low, high]`, in pixels."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, image: Image.Image) -> Image.Image:
        side = int(torch.randint(self.low, self.high + 1, ()))
        return v2.functional.resize(image, [side], antialias=True)  # type: ignore[no-any-return]


class Lighting(nn.Module):
    """
    Move all pixels along the principal components of ImageNet's colours.

    Krizhevsky et al., 2012, section 4.1; the components, of pixels in `[0, 1]`, are those of
    fb.resnet.torch.

    Shape:
        Input: (3, H, W), uint8
        Output: (3, H, W), uint8
    """

    VALUES = (0.2175, 0.0188, 0.0045)
    VECTORS = (
        (-0.5675, 0.7192, 0.4009),
        (-0.5808, -0.0045, -0.8140),
        (-0.5836, -0.6948, 0.4203),
    )

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, pixels: Tensor) -> Tensor:
        amounts = torch.randn(3) * self.std * torch.tensor(self.VALUES)
        shift = 255 * torch.tensor(self.VECTORS) @ amounts
        return (pixels + shift[:, None, None]).clamp(0, 255).round().to(torch.uint8)
