"""The images that models are measured on, and the meaning of their classes for a model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from convoy.artifact.manifest import Training
from convoy.commands.command_line import UsageError
from convoy.commands.evaluate.evaluate_settings import DataPart
from convoy.export import data
from convoy.export.data.content import data_set_sha256, images_sha256
from convoy.export.data.folders import has_parts, load_classes
from convoy.export.data.split import DataSet, Split
from convoy.export.errors import DataError


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
                "a server does not report what its models were trained on: give --part test for "
                f"the images of {path} that convoy export does not train on, or --part all if the "
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
