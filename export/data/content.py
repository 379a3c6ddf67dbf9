"""Hashes of the content of data sets: the same images in the same classes have the same hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from convoy.export.data.split import DataSet, Split

_MOST_THREADS = 8


def images_sha256(images: Split, labels: Sequence[str]) -> str:
    """
    Return the SHA-256 of *images* with the names of their classes, in lower-case hexadecimal.

    It depends neither on the order of the images nor on the names and places of their files.

    Raises:
        DataError: If a file cannot be read.
    """

    def line(index: int) -> str:
        digest = hashlib.sha256(images.image(index)).hexdigest()
        return f"{digest} {labels[images.labels[index]]}\n"

    # Reading and hashing work outside Python's lock.
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        lines = sorted(threads.map(line, range(len(images)), chunksize=64))
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def data_set_sha256(data_set: DataSet) -> str:
    """
    Return the SHA-256 of the three parts of *data_set*: an image in another part changes it.

    Raises:
        DataError: If a file cannot be read.
    """
    parts = (data_set.train, data_set.validation, data_set.test)
    hashes = [images_sha256(part, data_set.labels) for part in parts]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
