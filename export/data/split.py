"""Data sets and their parts."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from convoy.artifact.errors import ImageError
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import TRAINING_LIMITS, decode, preprocess
from convoy.export.errors import DataError

SPLIT_SEED = 0
"""Seed of every random split. It never changes, so that a test image stays a test image."""

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1
"""Parts of each class, where a data set does not come in parts."""

_BATCH_SIZE = 32
"""Images that are decoded together; it bounds the memory."""


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

    def part(self, indices: Iterable[int]) -> Split:
        """Return the images at *indices*, in this order."""
        chosen = list(indices)
        return Split([self.sources[index] for index in chosen], self.labels[chosen])

    def image(self, index: int) -> bytes:
        """
        Return the encoded bytes of one image.

        Raises:
            DataError: If its file cannot be read.
        """
        source = self.sources[index]
        # Small sets are in memory, large ones on disk.
        if isinstance(source, bytes):
            return source
        try:
            return source.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {source}: {error.strerror}") from error

    def decoded(self, index: int, spec: Preprocessing) -> Image.Image:
        """
        Decode one image: grey or RGB as *spec* requires, in its own size.

        Raises:
            DataError: If it cannot be read or decoded; names it.
        """
        try:
            return decode(self.image(index), spec, TRAINING_LIMITS)
        except ImageError as error:
            raise DataError(f"{self._name(index)}: {error}") from error

    def pixels(self, spec: Preprocessing) -> npt.NDArray[np.uint8]:
        """
        Decode every image, all of them into memory: uint8 `[N, H, W, C]`.

        Raises:
            DataError: If an image cannot be read or decoded; names it.
        """
        pixels = np.empty((len(self), spec.height, spec.width, spec.channels), np.uint8)
        for index in range(len(self)):
            try:
                pixels[index] = preprocess(self.image(index), spec, TRAINING_LIMITS)
            except ImageError as error:
                raise DataError(f"{self._name(index)}: {error}") from error
        return pixels

    def batches(self, spec: Preprocessing) -> Iterator[npt.NDArray[np.uint8]]:
        """
        Decode every image, a few at a time: uint8 `[N, H, W, C]`.

        Raises:
            DataError: If an image cannot be read or decoded; names it.
        """
        for start in range(0, len(self), _BATCH_SIZE):
            yield self.part(range(start, min(start + _BATCH_SIZE, len(self)))).pixels(spec)

    def _name(self, index: int) -> str:
        source = self.sources[index]
        return str(source) if isinstance(source, Path) else f"image {index}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataSet:
    """
    Images in three disjoint parts.

    Attributes:
        name: The argument of `load`, without the folder's place on this machine.
        source: Origin of the images.
        labels: Names of the classes.
        train: Images that the weights are fitted to.
        validation: Images that recipes are chosen on; they join `train` once a recipe is fixed.
        test: Images that no choice is ever made on.
        extra_tests: Test parts of other data sets with the same classes, by the name of the set;
            no image of theirs is in `train` or `validation` in any form.
        root: The folder of the images, if they are files.
        left_out: Number of files that are not read, by their kind.
        skipped: Names of images that cannot be read and were left out, below *root*.
    """

    name: str
    source: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    extra_tests: Mapping[str, Split] = field(default_factory=dict)
    root: Path | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    def name_of(self, path: Path) -> str:
        """Return the name of an image below `root`, as text that can be written."""
        name = path.relative_to(self.root).as_posix() if self.root else path.name
        return name.encode(errors="surrogateescape").decode(errors="replace")


def divide(images: Split, order: npt.NDArray[np.int64], *shares: float) -> list[Split]:
    """
    Divide each class of *images* by the same *shares*; the last part is the rest.

    Args:
        order: Indices of all images; a class's first ones go into the first part.
    """
    labels = images.labels[order]
    parts: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(len(shares) + 1)]
    # Class by class, so that every part has the same mix.
    for index in np.unique(labels):
        members = order[labels == index]
        ends = np.cumsum([round(len(members) * share) for share in shares])
        for part, group in zip(parts, np.split(members, ends), strict=True):
            part.append(group)
    return [images.part(np.sort(np.concatenate(part))) for part in parts]


def encode_png(image: Image.Image) -> bytes:
    """Encode *image* without loss."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)  # more makes noise no smaller
    return buffer.getvalue()
