"""Recipes made from other recipes: for another input, for fine-tuning, with a user's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convoy.artifact.manifest import Preprocessing
from convoy.export.errors import ExportError
from convoy.export.recipes.recipe import Affine, OneCycle, PhotoCrop, Recipe, Sgd


def at_size(recipe: Recipe, input_px: int, network: str = "this network") -> Recipe:
    """
    Return the recipe for images of another size; sizes before a crop change in proportion.

    Args:
        network: Name of the network, for the error message.

    Raises:
        ExportError: If its images are padded, as LeNet-5's: they have one size.
    """
    made = recipe.preprocessing
    if input_px == made.height:
        return recipe
    # LeNet-5: its padding is part of the paper's design.
    if made.pad_px:
        raise ExportError(
            f"--input-px {input_px}: {network} takes images of {made.height} x {made.width} "
            "pixels only; leave it out"
        )
    augmentation = recipe.augmentation
    # Crops by area follow the input by themselves; crops from a resized image do not.
    if isinstance(augmentation, PhotoCrop) and augmentation.short_side_px is not None:
        low, high = augmentation.short_side_px
        sides = (_scaled(low, input_px, made), _scaled(high, input_px, made))
        augmentation = replace(augmentation, short_side_px=sides)
    return replace(recipe, augmentation=augmentation, preprocessing=crop_at_size(made, input_px))


def crop_at_size(made: Preprocessing, input_px: int) -> Preprocessing:
    """Return *made* for images of another size; the size before the crop changes in proportion."""
    px = made.resize_px
    resized = (
        _scaled(px, input_px, made)
        if isinstance(px, int)
        else (_scaled(px[0], input_px, made), _scaled(px[1], input_px, made))
    )
    return made.model_copy(
        update={"resize_px": resized, "crop_height_px": input_px, "crop_width_px": input_px}
    )


def _scaled(side_px: int, input_px: int, made: Preprocessing) -> int:
    return max(input_px, round(side_px * input_px / made.height))


def fine_tuning(
    recipe: Recipe,
    preprocessing: Preprocessing,
    mean: Sequence[float],
    std: Sequence[float],
) -> Recipe:
    """
    Return the recipe of a short training that begins with good weights.

    It has the preprocessing that they were evaluated with, a tenth of the usual rate, and gentle
    crops. The augmentation of *recipe* shows whether the images are photographs.
    """
    photographs = isinstance(recipe.augmentation, PhotoCrop)
    gentle = Affine(rotation_deg=10, translation=0.1, scale=0.1, shear_deg=5)
    return replace(
        recipe,
        epochs=15,
        batch_size=64,
        optimizer=Sgd(learning_rate=0.01, nesterov=True, weight_decay=1e-4, decay_vectors=False),
        schedule=OneCycle(),
        initialization="network",
        averaging=None,
        augmentation=PhotoCrop(area=(0.35, 1.0)) if photographs else gentle,
        preprocessing=preprocessing,
        mean=tuple(mean),
        std=tuple(std),
        source="ours: a tenth of the usual learning rate over 15 epochs, one cycle, gentle crops",
    )


def with_numbers(recipe: Recipe, epochs: int, batch_size: int, learning_rate: float) -> Recipe:
    """Return *recipe* with those of a user's numbers that are not 0."""
    optimizer = replace(
        recipe.optimizer, learning_rate=learning_rate or recipe.optimizer.learning_rate
    )
    return replace(
        recipe,
        epochs=epochs or recipe.epochs,
        batch_size=batch_size or recipe.batch_size,
        optimizer=optimizer,
    )
