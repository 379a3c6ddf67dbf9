"""Images to measure a graph on, which neither trained nor chose it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convoy.export import data
from convoy.export.data.content import images_sha256
from convoy.export.data.folders import has_parts, load_classes
from convoy.export.data.split import DataSet, Split


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """
    Images to measure a graph on.

    Attributes:
        name: Name of the data set, and of its part.
        sha256: Hash of their content; None if their classes are not known.
    """

    name: str
    images: Split
    sha256: str | None

    @property
    def is_labelled(self) -> bool:
        """Return whether the classes of the images are known."""
        return self.sha256 is not None


def validation_of(data_set: DataSet) -> HeldOut:
    """Return the validation part of *data_set*."""
    images = data_set.validation
    sha256 = images_sha256(images, data_set.labels)
    return HeldOut(name=f"{data_set.name}, validation part", images=images, sha256=sha256)


def tests_of(data_set: DataSet) -> tuple[HeldOut, ...]:
    """Return the test parts that come with *data_set*, its own first."""
    parts = {data_set.name: data_set.test, **data_set.extra_tests}
    return tuple(
        HeldOut(
            name=f"{name}, test part",
            images=images,
            sha256=images_sha256(images, data_set.labels),
        )
        for name, images in parts.items()
    )


def load_unseen(name: str) -> HeldOut:
    """
    Load the images *name* for a network that was trained on none of them, or not on the test part.

    These are all images of a folder of classes, and the test part of other data sets.

    Raises:
        DataError: If the data is not available.
    """
    kind, _, path = name.partition(":")
    if kind == "folder" and path and not has_parts(Path(path)):
        classes, images, _ = load_classes(Path(path))
        folder = Path(path).resolve().name  # the rest of the path is this machine's
        return HeldOut(
            name=f"folder:{folder}", images=images, sha256=images_sha256(images, classes)
        )
    return tests_of(data.load(name))[0]
