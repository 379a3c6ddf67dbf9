"""The task of a training: images, recipe and first weights, found by the settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from convoy.export import data
from convoy.export.data.content import Content, content_of
from convoy.export.errors import ExportError
from convoy.export.export_settings import ExportSettings
from convoy.export.recipes import Recipe, recipe_for
from convoy.export.recipes.changes import at_size, fine_tuning, with_numbers
from convoy.export.training.run_record import RECORD_FILE
from convoy.export.training.tracking import Tracker, make_trackers
from convoy.export.weights import PublicWeights, file_options, find_weights
from convoy.models import ARCHITECTURES

DEFAULT_DATA = "mnist5k"

NAMED_CLASSES = 20
"""Classes whose numbers of images are all printed."""

_PREPARATION = {"input_px", "resize", "mean", "std"}
"""Options that state the preprocessing of a file of weights."""

VERIFIED_FILE = "verified_images"
"""Hashes of the images that trainings of this folder have decoded before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """
    One training.

    Attributes:
        data_option: The data set, as `--data` names it on this machine.
        data_sha256: Hash of the content of the data set.
        split: The images that the network is fitted to.
        validation: Images to measure on after each epoch; None if they are trained on.
        trackers: Programs that record the training.
    """

    settings: ExportSettings
    recipe: Recipe
    data_set: data.DataSet
    data_option: str
    data_sha256: str
    weights: PublicWeights | None
    split: data.Split
    validation: data.Split | None
    trackers: tuple[Tracker, ...]


def prepare(settings: ExportSettings, console: Console) -> Task:
    """
    Find data, weights and recipe; report them to *console*.

    Raises:
        ExportError: If one of them is not available, or images are damaged: before the training,
            not an hour later.
    """
    trackers = make_trackers(settings.track)
    data_option = settings.data or DEFAULT_DATA
    data_set = data.load(data_option)
    weights = None
    if settings.weights is not None:
        weights = find_weights(settings.architecture, settings.weights, file_options(settings))
        console.print(f"weights {weights.source}")
        if settings.is_file and not _PREPARATION & settings.model_fields_set:
            _warn_of_record(Path(settings.weights).parent / RECORD_FILE, console)
    recipe = _recipe(settings, data_set.name, weights)
    data_set = data.check_images(
        data_set,
        recipe.preprocessing,
        console,
        skip_bad=settings.skip_bad_images,
        verified=settings.runs / VERIFIED_FILE,
    )
    # After the check, which may leave images out.
    console.print(_described(data_set, settings.train_on_validation))
    # A recipe that is fixed needs no validation, and more images to train on are better.
    split = data_set.train
    if settings.train_on_validation:
        split = split + data_set.validation
    counts = np.bincount(split.labels, minlength=len(data_set.labels)).tolist()
    is_balanced = settings.balance_classes != "no"
    console.print(_counts(counts, data_set.labels, is_balanced=is_balanced))
    if data_set.left_out:
        console.print(f"left out: {data.counted(data_set.left_out)}")
    content = content_of(data_set)
    if warning := _repeated(data_set, content):
        console.print(f"warning: {warning}")
    return Task(
        settings=settings,
        recipe=recipe,
        data_set=data_set,
        data_option=data_option,
        data_sha256=content.sha256,
        weights=weights,
        split=split,
        validation=None if settings.train_on_validation else data_set.validation,
        trackers=trackers,
    )


def _warn_of_record(path: Path, console: Console) -> None:
    """Warn if *path*, the record of the training that made a file of weights, is there."""
    # The recipe's preprocessing may be another one.
    if path.is_file():
        console.print(
            f"warning: {path} has the preprocessing of these weights, which is not read here: give "
            "its --input-px, --mean and --std"
        )


def _described(data_set: data.DataSet, train_on_validation: bool) -> str:
    train, validation, test = map(len, (data_set.train, data_set.validation, data_set.test))
    if train_on_validation:
        return (
            f"data {data_set.name}: {train + validation} to train, {test} to test; not validated, "
            "as --train-on-validation trains on these images, too"
        )
    return f"data {data_set.name}: {train} to train, {validation} to validate, {test} to test"


def _repeated(data_set: data.DataSet, content: Content) -> str:
    """Return a warning of images that are in two parts; empty if there are none."""
    parts = (
        (content.repeated_validation, len(data_set.validation), "validation"),
        (content.repeated_test, len(data_set.test), "test"),
    )
    found = [f"{count} of {total} {part} images" for count, total, part in parts if count]
    if not found:
        return ""
    return (
        f"{' and '.join(found)} are also trained on, byte for byte: accuracies on them do not hold "
        "for new images; remove them from one of the parts"
    )


def _counts(counts: Sequence[int], labels: Sequence[str], *, is_balanced: bool) -> str:
    """Return the number of images to train of each class, or of the rarest and the commonest."""
    ordered = sorted(zip(counts, labels, strict=True))
    (fewest, rarest), (most, commonest) = ordered[0], ordered[-1]
    text = f"from {fewest} of {rarest} to {most} of {commonest}"
    if len(counts) <= NAMED_CLASSES:
        pairs = zip(labels, counts, strict=True)
        text = ", ".join(f"{label} {count}" for label, count in pairs)
    is_uneven = most >= 2 * fewest and not is_balanced
    advice = (
        "; --balance-classes weights or sampler makes rare classes count more" if is_uneven else ""
    )
    return f"images to train by class: {text}{advice}"


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
    balance = False if settings.balance_classes == "no" else settings.balance_classes
    decoding = {"scaled_decoding": settings.scaled_decoding}
    recipe = dataclasses.replace(
        recipe,
        balance_classes=balance,
        patience=settings.early_stopping,
        preprocessing=recipe.preprocessing.model_copy(update=decoding),
    )
    smallest = ARCHITECTURES[settings.architecture].min_px
    if settings.input_px and settings.input_px < smallest:
        raise ExportError(
            f"{settings.architecture} takes images of {smallest} x {smallest} pixels or more"
        )
    side = settings.input_px or recipe.preprocessing.height
    return at_size(recipe, side, settings.architecture)
