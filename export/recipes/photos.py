"""Recipes for small sets of photographs: Imagenette and CIFAR-10, for minutes on a GPU.

They have not been run yet.

The papers' recipes are made for ImageNet's 1.28 million images; these two sets have 9,469 and
50,000. The published recipes below are for networks with batch normalisation. A network without it
gets a tenth of the rate, as torchvision's references give AlexNet and VGG, and the first weights,
clipping or optimiser that its small recipe for digits needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from convoy.export.recipes.paper import (
    CIFAR_MEAN,
    CIFAR_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    PAPER,
    centre_crop,
)
from convoy.export.recipes.recipe import OneCycle, PhotoCrop, Recipe, RmsProp, Sgd
from convoy.export.recipes.small import SMALL

_MADE_FOR_CIFAR = ("resnet20", "resnet56", "resnet110", "plain20", "plain56", "nin_cifar")

_IMAGENETTE = Recipe(
    epochs=80,
    batch_size=64,
    optimizer=Sgd(learning_rate=0.025, nesterov=True, weight_decay=1e-4, decay_vectors=False),
    schedule=OneCycle(),
    label_smoothing=0.1,
    augmentation=PhotoCrop(area=(0.35, 1.0)),
    preprocessing=centre_crop(146, 128),
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    source="examples/train_imagenette.py of fastai: 128 pixels, batch 64, crops of 35 to 100 %, "
    "mirrors, label smoothing 0.1, and the 80 epochs of a table in Imagenette's README; SGD with "
    "the rate of torchvision's references (0.1 for a batch of 256) in proportion to the batch",
)

_CIFAR10 = Recipe(
    epochs=200,
    batch_size=128,
    optimizer=Sgd(learning_rate=0.1, weight_decay=5e-4),
    schedule=OneCycle(),
    augmentation=PhotoCrop(pad_px=4),
    preprocessing=centre_crop(32, 32),
    mean=CIFAR_MEAN,
    std=CIFAR_STD,
    source="kuangliu/pytorch-cifar: batch 128, SGD with momentum 0.9, rate 0.1, decay 5e-4, 200 "
    "epochs, padding by 4, mirrors; the rate rises first and then falls, instead of a cosine",
)


def _adapted(recipe: Recipe, name: str, input_px: int) -> Recipe:
    """Return *recipe* for the network *name*, whose small recipe shows its needs."""
    small, crop = SMALL[name], recipe.augmentation
    assert isinstance(recipe.optimizer, Sgd)
    assert isinstance(crop, PhotoCrop)
    optimizer: Sgd | RmsProp = recipe.optimizer
    # Without batch norm, or with none before the fully connected layers.
    if small.initialization in ("he", "open_maps"):
        optimizer = replace(recipe.optimizer, learning_rate=recipe.optimizer.learning_rate / 10)
    if isinstance(small.optimizer, RmsProp):
        optimizer = small.optimizer
    side = recipe.preprocessing.height
    resize_px = round(recipe.preprocessing.resize_px * input_px / side)  # type: ignore[operator]
    return replace(
        recipe,
        optimizer=optimizer,
        initialization=small.initialization,
        gradient_clip=small.gradient_clip,
        augmentation=replace(crop, pad_px=crop.pad_px * input_px // side),
        preprocessing=centre_crop(resize_px, input_px),
    )


_NAMES = tuple(PAPER)

IMAGENETTE: Mapping[str, Recipe] = MappingProxyType(
    {name: _adapted(_IMAGENETTE, name, 64 if name in _MADE_FOR_CIFAR else 128) for name in _NAMES}
)
"""The recipe of each architecture for Imagenette; the small networks for CIFAR-10 get 64 pixels."""

CIFAR10: Mapping[str, Recipe] = MappingProxyType(
    {
        name: PAPER[name]
        if name in _MADE_FOR_CIFAR
        else _adapted(_CIFAR10, name, SMALL[name].preprocessing.height)
        for name in _NAMES
    }
)
"""The recipe of each architecture for CIFAR-10: the paper's, or images enlarged to the smallest
sensible input."""
