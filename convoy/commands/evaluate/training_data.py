"""Recognition of the models that were trained on given data, by the hash of its content."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from convoy.artifact.manifest import Manifest, Training
from convoy.commands.evaluate.evaluate_settings import DataPart
from convoy.export.data.content import data_set_sha256
from convoy.export.data.split import DataSet, Split


@dataclass(frozen=True, slots=True)
class Trained:
    """
    A model that was trained on the data in question, or may have been.

    Attributes:
        title: Name and version.
        found_by: `content` if the hashes are equal; `name` if the names are equal and the manifest
            has no hash; `name of other content` if the names are equal and the hashes differ.
    """

    title: str
    training: Training
    found_by: Literal["content", "name", "name of other content"]

    @property
    def is_same(self) -> bool:
        """Return whether the data counts as the training data."""
        return self.found_by != "name of other content"


def trained_on(data_set: DataSet, manifests: Sequence[Manifest]) -> list[Trained]:
    """
    Return the models that were, or may have been, trained on *data_set*.

    Raises:
        DataError: If an image cannot be read.
    """
    found = []
    hashes = dict[tuple[str, ...], str]()  # by the images that are left out
    for manifest in manifests:
        training, skipped = manifest.training, manifest.skipped_images
        if training is None:
            continue
        title = f"{manifest.name}:{manifest.version}"
        is_named = training.data == data_set.name
        if training.data_sha256 is None:
            found += [Trained(title, training, "name")] if is_named else []
            continue
        if skipped not in hashes:
            hashes[skipped] = data_set_sha256(_without(data_set, skipped))
        if hashes[skipped] == training.data_sha256:
            found.append(Trained(title, training, "content"))
        elif is_named:
            found.append(Trained(title, training, "name of other content"))
    return found


def warnings(models: Sequence[Trained], name: str, part: DataPart, images: int) -> Iterator[str]:
    """
    Yield a line for each model that has seen images of *part*, or may have.

    Args:
        name: Name of the data set.
        images: Number of images in the part.
    """
    for model in models:
        if model.found_by == "name":
            yield (
                f"note: the manifest of {model.title} has no hash of its training data; {name} is "
                "taken for it because it has the same name"
            )
        if not _was_fitted(part, model.training):
            continue
        if model.is_same:
            count = model.training.images if part == "all" else images
            yield (
                f"warning: {model.title} was trained on {count} of these {images} images; expect "
                "worse results on new images"
            )
        else:
            yield (
                f"warning: {model.title} was trained on data of the same name, {name}, with other "
                "content; if it is the same folder with images added or removed, most of these "
                "images were trained on: measure its test part instead"
            )


def _was_fitted(part: DataPart, training: Training) -> bool:
    """Return whether the weights were fitted to images of *part*."""
    if part == "validation":
        return training.validation is None
    return part != "test"


def _without(data_set: DataSet, names: Collection[str]) -> DataSet:
    """Return *data_set* without the images *names*, which its training left out."""
    if not names:
        return data_set

    def kept(images: Split) -> Split:
        return images.part(
            index
            for index, source in enumerate(images.sources)
            if not (isinstance(source, Path) and data_set.name_of(source) in names)
        )

    return replace(
        data_set,
        train=kept(data_set.train),
        validation=kept(data_set.validation),
        test=kept(data_set.test),
    )
