"""The images that models are measured on, and the meaning of their classes for a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from convoy.artifact.manifest import Manifest
from convoy.commands.command_line import UsageError
from convoy.commands.evaluate.evaluate_settings import DataPart
from convoy.commands.evaluate.training_data import trained_on, warnings
from convoy.export import data
from convoy.export.data.content import images_sha256
from convoy.export.data.folders import has_parts, load_classes
from convoy.export.data.split import DataSet, Split, divide
from convoy.export.errors import DataError


@dataclass(frozen=True)
class LabelledImages:
    """
    Images with their classes.

    Attributes:
        name: Name of the data set, and of its part.
        part: The part of the data set.
        classes: Names of the classes; the labels of `images` are their indices.
        notes: Lines for the user about images that models were trained on, and files that are not
            read.
        skipped: Number of images that `without` has left out.
    """

    name: str
    part: DataPart
    images: Split
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    skipped: int = 0

    @cached_property  # it reads all images
    def sha256(self) -> str:
        """The hash of their content."""
        return images_sha256(self.images, self.classes)

    def without(self, indices: Collection[int]) -> LabelledImages:
        """Return the images but those at *indices*."""
        left = [index for index in range(len(self.images)) if index not in indices]
        return replace(self, images=self.images.part(left), skipped=len(indices))

    def halves(self) -> tuple[LabelledImages, LabelledImages]:
        """Return two halves of each class, the same ones on every call."""
        order = np.random.default_rng(0).permutation(len(self.images))
        one, other = divide(self.images, order, 0.5)
        return (
            replace(self, name=f"{self.name}, one half", images=one),
            replace(self, name=f"{self.name}, other half", images=other),
        )


def load_images(
    text: str, part: DataPart | None, manifests: Sequence[Manifest] | None
) -> LabelledImages:
    """
    Load the *part* of the data set *text*.

    Args:
        manifests: The models that are measured; None if they are not known.

    Raises:
        DataError: If the data is not available.
        UsageError: If the part must be chosen, as training images might be measured on.
    """
    kind, _, path = text.partition(":")
    # A folder of classes may be a test set as a whole, or what convoy export divided itself.
    if kind == "folder" and path and not has_parts(Path(path)):
        return _load_undivided(Path(path), part, manifests)
    return _load_part(data.load(text), part or "test", manifests or ())


def _load_undivided(
    root: Path, part: DataPart | None, manifests: Sequence[Manifest] | None
) -> LabelledImages:
    if part is None and manifests is None:
        raise UsageError(
            "a server does not report what its models were trained on: give --part test for "
            f"the images of {root} that convoy export does not train on, or --part all if the "
            "models were not trained on any of them"
        )
    if part not in (None, "all"):
        return _load_part(data.load(f"folder:{root}"), part, manifests or ())
    divided = _divided(root) if manifests else None
    models = trained_on(divided, manifests or ()) if divided else []
    if divided and part is None and any(model.is_same for model in models):
        lines = warnings(models, divided.name, "test", len(divided.test))
        part_of_it = _load_part(divided, "test", ())
        return replace(part_of_it, notes=(*part_of_it.notes, *lines))
    classes, images, left_out = load_classes(root)
    name = f"folder:{root.resolve().name}"
    lines = warnings(models, name, "all", len(images))
    return LabelledImages(name, "all", images, classes, (*_left_out(left_out), *lines))


def _load_part(data_set: DataSet, part: DataPart, manifests: Sequence[Manifest]) -> LabelledImages:
    images = {
        "train": data_set.train,
        "validation": data_set.validation,
        "test": data_set.test,
        "all": data_set.train + data_set.validation + data_set.test,
    }[part]
    # Nothing is fitted to a test part: the hash of the training data does not matter.
    models = trained_on(data_set, manifests) if part != "test" else []
    lines = warnings(models, data_set.name, part, len(images))
    suffix = "" if part == "all" else f", {part} part"
    notes = (*_left_out(data_set.left_out), *lines)
    return LabelledImages(f"{data_set.name}{suffix}", part, images, data_set.labels, notes)


def _left_out(files: Mapping[str, int]) -> list[str]:
    return [f"left out: {data.counted(files)}"] if files else []


def _divided(root: Path) -> DataSet | None:
    try:
        return data.load(f"folder:{root}")
    except DataError:  # it has too few images for a training
        return None
