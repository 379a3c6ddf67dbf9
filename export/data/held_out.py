"""Images to measure a graph on, which neither trained nor chose it."""

from __future__ import annotations

from dataclasses import dataclass

from convoy.export.data.content import images_sha256
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
