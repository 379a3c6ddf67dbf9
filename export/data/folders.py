"""Folders of images: one sub-folder per class, named after it.

The images of a class may lie in further folders below it, as torchvision reads them. Hidden files
and folders are skipped, and so are those that operating systems add. If a folder does not come in
parts, or has no part to validate on, images are chosen for it by a hash of their names, so that
images that are added later leave nearly all others in the part that they were in.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from convoy.artifact.image_formats import SUFFIXES
from convoy.export.data.folder_walk import FolderWalk, folders_in, visible_in
from convoy.export.data.split import TEST_SHARE, VALIDATION_SHARE, DataSet, Split, divide
from convoy.export.errors import DataError

IMAGE_SUFFIXES = tuple(sorted(SUFFIXES))

MIN_IMAGES = 10
"""Minimum number of images of each class that is divided: the smallest part gets one in ten."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"

PARTS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("train", "training"), TRAIN),
        **dict.fromkeys(("val", "valid", "validation"), VALIDATION),
        **dict.fromkeys(("dev", "eval", "evaluation"), VALIDATION),
        **dict.fromkeys(("test", "testing"), TEST),
    }
)
"""The part that a folder of this name holds; capitals do not matter."""

Classes = tuple[str, ...]
Parts = tuple[Classes, Split, Split, Split]


def load_folder(root: Path) -> DataSet:
    """
    Load the images in *root*, whose sub-folders are classes, or parts with classes in them.

    Raises:
        DataError: If a folder cannot be read, has a name that is not UTF-8, holds too few images,
            or is read twice through a link; if parts are missing, have unknown names or different
            classes.
    """
    folders = _Folders(root)
    classes, train, validation, test = folders.load()
    name = f"folder:{root.resolve().name}"  # the rest of the path is the exporting machine's
    return DataSet(
        name=name,
        source=name,
        labels=classes,
        train=train,
        validation=validation,
        test=test,
        root=root,
        left_out=dict(folders.left_out),
    )


def has_parts(root: Path) -> bool:
    """
    Return whether the sub-folders of *root* are parts with classes in them, not classes.

    Raises:
        DataError: If the folder cannot be read.
    """
    names = [folder.name.lower() for folder in folders_in(root)]
    return bool(names) and all(name in PARTS for name in names)


def load_classes(root: Path) -> tuple[Classes, Split, Mapping[str, int]]:
    """
    Load all images in *root*, whose sub-folders are classes, undivided.

    Also return the number of files that are not read, by their kind.

    Raises:
        DataError: If a folder cannot be read, or a class has no images.
    """
    folders = _Folders(root)
    return *folders.read_classes(), dict(folders.left_out)


def images_below(folder: Path) -> list[Path]:
    """
    Return the images in *folder* and the folders below it, sorted.

    Raises:
        DataError: If it cannot be read, has a name that is not UTF-8, holds no image, or links to
            one of its own folders.
    """
    _check_name(_real(folder))
    images = sorted(filter(_is_image, FolderWalk(folder).files_below(folder)))
    if not images:
        raise DataError(f"{folder} holds no images named {', '.join(IMAGE_SUFFIXES)}")
    return images


class _Folders:
    """
    A reader of one folder.

    Attributes:
        left_out: Number of files that are not read, by their kind.
    """

    def __init__(self, root: Path) -> None:
        _check_name(_real(root))
        self.root = root
        self.left_out = Counter[str]()
        self._walk = FolderWalk(root)

    def load(self) -> Parts:
        """Return the classes, and the images of the three parts."""
        names = [folder.name for folder in folders_in(self.root)]
        parts = {name: PARTS[name.lower()] for name in names if name.lower() in PARTS}
        # Parts, if every sub-folder has the name of one: a class may be called `test`, too.
        if parts and len(parts) == len(names):
            return self._load_parts(parts)
        # But not `train` and `test` together: taken for classes, they would train nonsense.
        if TRAIN in parts.values() and len(set(parts.values())) > 1:
            others = _few(set(names) - set(parts))
            raise DataError(
                f"{self.root} holds the parts {', '.join(parts)} beside {others}: move the others "
                f"out of it, or name them as parts ({', '.join(PARTS)})"
            )
        return self._divide()

    def read_classes(self) -> tuple[Classes, Split]:
        """Return the classes and all images of them."""
        return self._read(self.root, 1)

    def _divide(self) -> Parts:
        classes, images = self._read(self.root, MIN_IMAGES)
        order = _hash_order(images, self.root)
        test, validation, train = divide(images, order, TEST_SHARE, VALIDATION_SHARE)
        return classes, train, validation, test

    def _load_parts(self, parts: Mapping[str, str]) -> Parts:
        """
        Load the folders *parts*, by name.

        The last part is the test. If it is the only one beside the one to train on, a share of
        that one validates.
        """
        train_folder = self._folder_of(TRAIN, parts)
        if train_folder is None:
            raise DataError(f"{self.root} holds parts, not classes, and none named {TRAIN}")
        held_out = [self._folder_of(part, parts) for part in (VALIDATION, TEST)]
        folders = [folder for folder in held_out if folder is not None]
        if not folders:
            raise DataError(f"{self.root} holds nothing to test on: it needs a sub-folder {TEST}")
        classes, train = self._read(train_folder, MIN_IMAGES if len(folders) == 1 else 1)
        # `val` alone is the test: a part that recipes are chosen on is taken from `train` then.
        *validations, test = [self._read_like(folder, classes, train_folder) for folder in folders]
        # All three parts are there; else a share of the training images validates.
        if validations:
            return classes, train, validations[0], test
        validation, train = divide(train, _hash_order(train, train_folder), VALIDATION_SHARE)
        return classes, train, validation, test

    def _folder_of(self, part: str, parts: Mapping[str, str]) -> Path | None:
        names = [name for name in parts if parts[name] == part]
        if len(names) > 1:
            raise DataError(
                f"{self.root} holds more than one part to {_PURPOSES[part]} on: "
                f"{', '.join(names)}; keep one of them"
            )
        return self.root / names[0] if names else None

    def _read_like(self, folder: Path, classes: Classes, train_folder: Path) -> Split:
        """Read the images of a part, whose classes must be those of *train_folder*."""
        found, images = self._read(folder, 1)
        train = train_folder.name
        if missing := set(classes) - set(found):
            raise DataError(f"{folder} lacks classes that {train} has: {_few(missing)}")
        if extra := set(found) - set(classes):
            raise DataError(f"{folder} has classes that {train} lacks: {_few(extra)}")
        return images

    def _read(self, root: Path, min_images: int) -> tuple[Classes, Split]:
        """Return the names of *root*'s sub-folders, and the images in and below them."""
        folders = folders_in(root)
        if len(folders) < 2:
            inner = f"; if they are in {folders[0]}, name that folder" if folders else ""
            raise DataError(
                f"{root} needs at least two sub-folders of images, one per class{inner}"
            )
        for folder in folders:
            _check_name(folder)
        _check_no_parts(root, folders)
        for path in visible_in(root):
            if _is_image(path):
                self.left_out["outside of the classes"] += 1
        images = [self._images_of(folder, min_images) for folder in folders]
        labels = np.arange(len(folders)).repeat([len(found) for found in images])
        paths = [path for found in images for path in found]
        return tuple(folder.name for folder in folders), Split(paths, labels)

    def _images_of(self, folder: Path, min_images: int) -> list[Path]:
        images: list[Path] = []
        others = Counter[str]()
        for path in sorted(self._walk.files_below(folder)):
            if _is_image(path):
                images.append(path)
            else:
                others[_kind(path)] += 1
        self.left_out += others
        if len(images) < min_images:
            beside = f" (left out: {counted(others)})" if others else ""
            # If there are some images, the list of suffixes does not help.
            names = "" if images else f" named {', '.join(IMAGE_SUFFIXES)}"
            found = "1 image" if len(images) == 1 else f"{len(images) or 'no'} images"
            raise DataError(
                f"{folder} holds {found}{names}{beside}; a class needs at least {min_images}: add "
                "some, or remove the folder"
            )
        return images


def _real(folder: Path) -> Path:
    """Return the real path of *folder*; of a link to itself, which is no folder, its own."""
    return Path(os.path.realpath(folder))


def _check_name(folder: Path) -> None:
    """Refuse *folder* if manifests, which are UTF-8, could not state its name."""
    if (text := _as_text(folder.name)) != folder.name:
        raise DataError(
            f"the name of the folder {_as_text(str(folder.parent))}/{text} is not UTF-8: rename it"
        )


def _check_no_parts(root: Path, folders: Sequence[Path]) -> None:
    """Refuse *folders* if they look like parts with classes in them, and not all are named so."""
    # Without a part's name, folders in classes are further folders, such as a place or a date.
    if not any(folder.name.lower() in PARTS for folder in folders):
        return
    if any(_is_image(path) for folder in folders for path in visible_in(folder)):
        return
    inner = {folder: _names_with_images(folder) for folder in folders}
    # One name in common, as `images`, is no part: a part has two classes.
    several = [folder for folder in folders if len(inner[folder]) > 1]
    for one, other in itertools.combinations(several, 2):
        common = inner[one] & inner[other]
        if len(common) > 1 and 2 * len(common) >= min(len(inner[one]), len(inner[other])):
            raise DataError(
                f"{one.name} and {other.name} in {root} both hold images in folders named "
                f"{_few(common)}: if these are the classes, give the parts names that are "
                f"recognised ({', '.join(PARTS)}); if {one.name} and {other.name} are classes, "
                "rename or merge the folders in them"
            )


def _names_with_images(folder: Path) -> set[str]:
    """Return the names of the sub-folders of *folder* with images in or below them."""
    return {
        inner.name
        for inner in folders_in(folder)
        if any(map(_is_image, FolderWalk(inner).files_below(inner)))
    }


def _as_text(name: str) -> str:
    """Return *name*, whose bytes need not be UTF-8 on Linux, as text that can be written."""
    return os.fsencode(name).decode(errors="replace")


_PURPOSES = {TRAIN: "train", VALIDATION: "validate", TEST: "test"}


def counted(left_out: Mapping[str, int]) -> str:
    """Return the kinds of files with their numbers, the most frequent first: `30 .tif, 2 .txt`."""
    order = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in order)


def _kind(path: Path) -> str:
    # An image's name, but a broken link or a pipe.
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return "unreadable as a file"
    return _as_text(path.suffix.lower()) or "without an ending"


def _few(names: set[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _hash_order(images: Split, root: Path) -> npt.NDArray[np.int64]:
    """Return the indices of *images*, ordered by the hashes of their names below *root*."""
    # Hashes, not a seed: an image keeps its part when others are added.
    hashes = [_hash_of_name(path, root) for path in images.sources]
    return np.array(sorted(range(len(hashes)), key=hashes.__getitem__))


def _hash_of_name(path: bytes | Path, root: Path) -> bytes:
    assert isinstance(path, Path)
    # A name need not be text: Linux allows any bytes.
    return hashlib.sha256(os.fsencode(path.relative_to(root))).digest()
