"""Hashes of the content of data sets: the same images in the same classes have the same hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from convoy.export.data.split import DataSet, Split

_MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Content:
    """
    The content of a data set.

    Attributes:
        sha256: SHA-256 of the three parts: an image in another part changes it.
        repeated_validation: Number of validation images that are in the training part, too.
        repeated_test: Number of test images that are in the training part, too.
    """

    sha256: str
    repeated_validation: int
    repeated_test: int


def images_sha256(images: Split, labels: Sequence[str]) -> str:
    """
    Return the SHA-256 of *images* with the names of their classes, in lower-case hexadecimal.

    It depends neither on the order of the images nor on the names and places of their files.

    Raises:
        DataError: If a file cannot be read.
    """
    return _combined(_digests(images), images, labels)


def content_of(data_set: DataSet) -> Content:
    """
    Return the content of *data_set*, of which each image is read once.

    Raises:
        DataError: If a file cannot be read.
    """
    parts = (data_set.train, data_set.validation, data_set.test)
    digests = [_digests(part) for part in parts]
    hashes = [_combined(*pair, data_set.labels) for pair in zip(digests, parts, strict=True)]
    trained = set(digests[0])
    return Content(
        hashlib.sha256("\n".join(hashes).encode()).hexdigest(),
        *(sum(digest in trained for digest in part) for part in digests[1:]),
    )


def data_set_sha256(data_set: DataSet) -> str:
    """
    Return the SHA-256 of the three parts of *data_set*: an image in another part changes it.

    Raises:
        DataError: If a file cannot be read.
    """
    return content_of(data_set).sha256


def _digests(images: Split) -> list[str]:
    """Return the SHA-256 of each of *images*."""

    def digest(index: int) -> str:
        return hashlib.sha256(images.image(index)).hexdigest()

    # Reading and hashing work outside Python's lock.
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        return list(threads.map(digest, range(len(images)), chunksize=64))


def _combined(digests: Sequence[str], images: Split, labels: Sequence[str]) -> str:
    pairs = zip(digests, images.labels, strict=True)
    lines = sorted(f"{digest} {labels[label]}\n" for digest, label in pairs)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
