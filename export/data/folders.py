"""Folders of images: one sub-folder per class, named after it.

Hidden files and folders are skipped. If a folder does not come in parts, or has no part to
validate on, images are chosen for it by a hash of their names, so that images that
are added later leave nearly all others in the part that they were in.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from convoy.export.data.split import TEST_SHARE, VALIDATION_SHARE, DataSet, Split, divide
from convoy.export.errors import DataError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

MIN_IMAGES = 10
"""Least images of each class that is divided: the smallest part gets one in ten."""

TRAIN_FOLDER = "train"
VALIDATION_FOLDERS = ("val", "valid", "validation")
TEST_FOLDER = "test"
_PARTS = {TRAIN_FOLDER, *VALIDATION_FOLDERS, TEST_FOLDER}

Classes = tuple[str, ...]
Parts = tuple[Classes, Split, Split, Split]


def load_folder(root: Path) -> DataSet:
    """
    Load the images in *root*, whose sub-folders are classes, or parts with classes in them.

    Raises:
        DataError: If a folder cannot be read or holds too few images, if parts are missing, or if
            they have different classes.
    """
    names = {folder.name for folder in _folders_in(root)}
    # Parts, if every sub-folder has the name of one: a class may be called `test`, too.
    in_parts = bool(names) and names <= _PARTS
    classes, train, validation, test = _load_parts(root, names) if in_parts else _divide(root)
    name = f"folder:{root.resolve().name}"  # the rest of the path is the exporting machine's
    return DataSet(
        name=name, source=name, labels=classes, train=train, validation=validation, test=test
    )


def _divide(root: Path) -> Parts:
    classes, images = _read(root, MIN_IMAGES)
    test, validation, train = divide(images, _hash_order(images), TEST_SHARE, VALIDATION_SHARE)
    return classes, train, validation, test


def _load_parts(root: Path, names: set[str]) -> Parts:
    """
    Load the parts *names* of *root*.

    The last part is the test. If it is the only one beside `train`, a share of `train` validates.
    """
    # Needed: one part to train on, at most one to validate on, and one to test on.
    if TRAIN_FOLDER not in names:
        raise DataError(f"{root} holds parts, not classes, and none named {TRAIN_FOLDER}")
    validating = [name for name in VALIDATION_FOLDERS if name in names]
    if len(validating) > 1:
        raise DataError(f"{root} holds more than one part to validate on: {', '.join(validating)}")
    held_out = [*validating, *names & {TEST_FOLDER}]
    if not held_out:
        raise DataError(f"{root} holds nothing to test on: it needs a sub-folder {TEST_FOLDER}")
    classes, train = _read(root / TRAIN_FOLDER, MIN_IMAGES if len(held_out) == 1 else 1)
    # `val` alone is the test: a part that recipes are chosen on is taken from `train` then.
    *validations, test = [_read_like(root / name, classes) for name in held_out]
    # All three parts are there; else a share of the training images validates.
    if validations:
        return classes, train, validations[0], test
    validation, train = divide(train, _hash_order(train), VALIDATION_SHARE)
    return classes, train, validation, test


def _read_like(root: Path, classes: Classes) -> Split:
    """Read the images of a part, whose classes must be those of `train`."""
    found, images = _read(root, 1)
    if missing := set(classes) - set(found):
        raise DataError(f"{root} lacks classes that {TRAIN_FOLDER} has: {_few(missing)}")
    if extra := set(found) - set(classes):
        raise DataError(f"{root} has classes that {TRAIN_FOLDER} lacks: {_few(extra)}")
    return images


def _few(names: set[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")


def _read(root: Path, min_images: int) -> tuple[Classes, Split]:
    """Return the names of *root*'s sub-folders, and the images in them."""
    folders = _folders_in(root)
    if len(folders) < 2:
        raise DataError(f"{root} needs at least two sub-folders of images, one per class")
    paths: list[Path] = []
    counts: list[int] = []
    for folder in folders:
        found = [path for path in _visible_in(folder) if _is_image(path)]
        if len(found) < min_images:
            raise DataError(
                f"{folder} holds {len(found)} images; a class needs at least {min_images}"
            )
        paths += found
        counts.append(len(found))
    labels = np.arange(len(folders)).repeat(counts)
    return tuple(folder.name for folder in folders), Split(paths, labels)


def _folders_in(root: Path) -> list[Path]:
    return [path for path in _visible_in(root) if path.is_dir()]


def _visible_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read the data folder {folder}: {error.strerror}") from error


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _hash_order(images: Split) -> npt.NDArray[np.int64]:
    """Return the indices of *images*, ordered by the hashes of their class and file names."""
    # Hashes, not a seed: an image keeps its part when others are added.
    hashes = [_hash_of_name(path) for path in images.sources]
    return np.array(sorted(range(len(hashes)), key=hashes.__getitem__))


def _hash_of_name(path: bytes | Path) -> bytes:
    assert isinstance(path, Path)
    return hashlib.sha256(f"{path.parent.name}/{path.name}".encode()).digest()
