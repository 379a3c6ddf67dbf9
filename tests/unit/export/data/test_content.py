from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convoy.export.data.content import data_set_sha256, images_sha256
from convoy.export.data.split import DataSet, Split
from convoy.export.errors import DataError

LABELS = ("cat", "dog")


def split(*images: tuple[bytes, int]) -> Split:
    return Split([image for image, _ in images], np.array([label for _, label in images]))


IMAGES = split((b"one", 0), (b"two", 1), (b"three", 1))


def test_same_images_in_the_same_classes(tmp_path: Path) -> None:
    """
    The hash depends neither on the order nor on the names of files.
    """
    (tmp_path / "any.png").write_bytes(b"one")
    again = Split([b"three", tmp_path / "any.png", b"two"], np.array([1, 0, 1]))
    assert images_sha256(IMAGES, LABELS) == images_sha256(again, LABELS)
    # Another order of the classes is the same content.
    swapped = Split(IMAGES.sources, 1 - IMAGES.labels)
    assert images_sha256(IMAGES, LABELS) == images_sha256(swapped, LABELS[::-1])


@pytest.mark.parametrize(
    "other",
    [
        split((b"one", 0), (b"two", 1)),
        split((b"one", 0), (b"two", 1), (b"three", 0)),
        split((b"one", 0), (b"two", 1), (b"three!", 1)),
        split((b"one", 0), (b"two", 1), (b"three", 1), (b"three", 1)),
    ],
)
def test_other_images(other: Split) -> None:
    """
    An image that is missing, changed, doubled or of another class changes the hash.
    """
    assert images_sha256(other, LABELS) != images_sha256(IMAGES, LABELS)


def test_other_class_names() -> None:
    """
    The names of the classes belong to the content.
    """
    assert images_sha256(IMAGES, ("cat", "wolf")) != images_sha256(IMAGES, LABELS)


def test_parts() -> None:
    """
    An image that moves from one part to another changes the hash of the set.
    """
    one, two = split((b"one", 0)), split((b"two", 1))
    data_set = DataSet(name="x", source="", labels=LABELS, train=one, validation=two, test=IMAGES)
    swapped = replace(data_set, train=two, validation=one)
    assert data_set_sha256(data_set) != data_set_sha256(swapped)


def test_file_that_is_gone(tmp_path: Path) -> None:
    """
    A file that cannot be read is named.
    """
    with pytest.raises(DataError, match=r"cannot read .*gone\.png"):
        images_sha256(Split([tmp_path / "gone.png"], np.zeros(1, np.int64)), LABELS)
