"""The task of a training: images, recipe and first weights, found by the settings."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from convoy.export import data
from convoy.export.errors import ExportError
from convoy.export.export_settings import ExportSettings
from convoy.export.recipes import Recipe, recipe_for
from convoy.export.recipes.changes import at_size, fine_tuning, with_numbers
from convoy.export.weights import PublicWeights, file_options, find_weights
from convoy.models import ARCHITECTURES

VERIFIED_FILE = "verified_images"
"""Hashes of the images that trainings of this folder have decoded before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """
    One training.

    Attributes:
        split: The images that the network is fitted to.
        watched: Images to measure on after each epoch, if any.
    """

    settings: ExportSettings
    recipe: Recipe
    data_set: data.DataSet
    weights: PublicWeights | None
    split: data.Split
    watched: data.Split | None


def prepare(settings: ExportSettings, console: Console) -> Task:
    """
    Find data, weights and recipe; report them to *console*.

    Raises:
        ExportError: If one of them is not available, or images are damaged: before the training,
            not an hour later.
    """
    data_set = data.load(settings.data or "mnist5k")
    console.print(
        f"data {data_set.name}: {len(data_set.train)} to train, "
        f"{len(data_set.validation)} to validate, {len(data_set.test)} to test"
    )
    if data_set.left_out:
        console.print(f"left out: {data.counted(data_set.left_out)}")
    weights = None
    if settings.weights is not None:
        weights = find_weights(settings.architecture, settings.weights, file_options(settings))
        console.print(f"weights {weights.source}")
    recipe = _recipe(settings, data_set.name, weights)
    validates = settings.validate_only
    data_set = data.check_images(
        data_set,
        recipe.preprocessing,
        console,
        skip_bad=settings.skip_bad_images,
        verified=settings.runs / VERIFIED_FILE,
    )
    return Task(
        settings=settings,
        recipe=recipe,
        data_set=data_set,
        weights=weights,
        # Once a recipe is fixed, the validation images are trained on, too.
        split=data_set.train if validates else data_set.train + data_set.validation,
        watched=data_set.validation if validates else None,
    )


def _recipe(settings: ExportSettings, data_name: str, weights: PublicWeights | None) -> Recipe:
    """
    Return the recipe for the network and the data, with the user's own numbers in it.

    Raises:
        ExportError: If the network does not take images of the requested size.
    """
    # The network's and the data's recipe, then fine-tuning, then the user's numbers.
    recipe = recipe_for(settings.architecture, data_name)
    if weights is not None:
        recipe = fine_tuning(recipe, weights.preprocessing, weights.mean, weights.std)
    recipe = with_numbers(recipe, settings.epochs, settings.batch_size, settings.learning_rate)
    smallest = ARCHITECTURES[settings.architecture].min_px
    if settings.input_px and settings.input_px < smallest:
        raise ExportError(
            f"{settings.architecture} takes images of {smallest} x {smallest} pixels or more"
        )
    return at_size(recipe, settings.input_px or recipe.preprocessing.height)
