"""The images that models are measured on, and the meaning of their classes for a model."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from convoy.artifact.manifest import Training
from convoy.commands.command_line import UsageError
from convoy.commands.evaluate.evaluate_settings import DataPart
from convoy.export import data
from convoy.export.data.content import data_set_sha256, images_sha256
from convoy.export.data.folders import has_parts, load_classes
from convoy.export.data.split import DataSet, Split
from convoy.export.errors import DataError

_WORDNET = re.compile(r"n\d{8}")
"""Names of ImageNet's folders, whose order is that of the classes of all public weights."""

_NAMED = 3


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """
    Images with their classes.

    Attributes:
        name: Name of the data set, and of its part.
        classes: Names of the classes; the labels of `images` are their indices.
    """

    name: str
    images: Split
    classes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The hash of their content."""
        return images_sha256(self.images, self.classes)

    def without(self, indices: Collection[int]) -> LabelledImages:
        """Return the images but those at *indices*."""
        left = [index for index in range(len(self.images)) if index not in indices]
        return replace(self, images=self.images.part(left))


def load_images(
    text: str, part: DataPart | None, trainings: Sequence[Training] | None
) -> LabelledImages:
    """
    Load the *part* of the data set *text*.

    Args:
        trainings: The trainings of the models; None if they are not known.

    Raises:
        DataError: If the data is not available.
        UsageError: If the part must be chosen, as training images might be measured on.
    """
    kind, _, path = text.partition(":")
    # A folder of classes may be a test set as a whole, or what convoy export divided itself.
    if kind == "folder" and path and not has_parts(Path(path)):
        if part is None and trainings is None:
            raise UsageError(
                "a server does not tell what its models were trained on: give --part test for the "
                f"images of {path} that convoy export does not train on, or --part all if the "
                "models were not trained on any of them"
            )
        if part is None:
            part = "test" if _was_trained_on(Path(path), trainings or ()) else "all"
        if part == "all":
            classes, images = load_classes(Path(path))
            return LabelledImages(f"folder:{Path(path).resolve().name}", images, classes)
    data_set = data.load(text)
    part = part or "test"
    images = {
        "train": data_set.train,
        "validation": data_set.validation,
        "test": data_set.test,
        "all": data_set.train + data_set.validation + data_set.test,
    }[part]
    suffix = "" if part == "all" else f", {part} part"
    return LabelledImages(f"{data_set.name}{suffix}", images, data_set.labels)


def _was_trained_on(root: Path, trainings: Sequence[Training]) -> bool:
    if any(training.data == f"folder:{root.resolve().name}" for training in trainings):
        return True
    hashes = {training.data_sha256 for training in trainings} - {None}
    # The folder may have another name now.
    return (
        bool(hashes) and (found := _divided(root)) is not None and data_set_sha256(found) in hashes
    )


def _divided(root: Path) -> DataSet | None:
    try:
        return data.load(f"folder:{root}")
    except DataError:  # it has too few images for a training
        return None


def class_indices(
    classes: Sequence[str], labels: Sequence[str], model: str, *, by_order: bool
) -> npt.NDArray[np.int64]:
    """
    Return the index in the output of *model*, whose *labels* are given, of each of *classes*.

    Raises:
        DataError: If the classes of the data are not those of the model.
    """
    known = {label: index for index, label in enumerate(labels)}
    # By their names; a test set need not have images of all classes.
    if not by_order and set(classes) <= known.keys() and len(known) == len(labels):
        return np.array([known[name] for name in classes])
    # By their order, where the user or ImageNet's own names say so.
    is_imagenet = all(_WORDNET.fullmatch(name) for name in classes)
    if (by_order or is_imagenet) and len(classes) == len(labels):
        return np.arange(len(labels))
    if by_order:
        raise DataError(f"the data has {len(classes)} classes, and {model} {len(labels)}")
    unknown = [name for name in classes if name not in known]
    rest = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    raise DataError(
        f"{model} does not know the classes {', '.join(unknown[:_NAMED])}{rest}: name the folders "
        f"as its labels, such as {', '.join(labels[:_NAMED])}; or give --by-order if the folders, "
        "sorted by name, are its classes in their order"
    )
