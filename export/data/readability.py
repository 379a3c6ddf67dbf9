"""The check, before anything is trained, that every image file of a data set can be decoded."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from convoy.artifact.manifest import Preprocessing
from convoy.export.data.split import DataSet, Split
from convoy.export.errors import DataError
from convoy.export.whole_files import replacing

NAMED = 10
"""Number of unreadable images that a message names before it counts the rest."""

_CHUNK = 256
"""Images that are handed to the threads at once; Ctrl-C waits for the decoding of these only."""

_MOST_THREADS = 8
"""Images of 50 megapixels that are decoded at once: each takes some 300 MB."""

_LINE_EVERY = 40
"""Chunks between two lines of progress where there is no terminal."""


@dataclass(frozen=True, slots=True)
class _Problem:
    """An image that cannot be used, and the error that it gives."""

    source: Path
    message: str


class Verified:
    """
    The images that were decoded before, by hashes of their paths, sizes and times of change.

    A check of many images that was interrupted, or a training that is resumed, need not decode them
    once more.

    Args:
        path: The file that keeps the hashes; None to keep none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._hashes = set[int]()
        if path is not None and path.is_file():
            self._hashes.update(np.fromfile(path, np.uint64).tolist())

    def __contains__(self, image: Path) -> bool:
        return bool(self._hashes) and self._hash(image) in self._hashes

    def add(self, image: Path) -> None:
        """Note that *image* can be decoded."""
        if self._path is not None:
            self._hashes.add(self._hash(image))

    def save(self) -> None:
        """Write the file atomically."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._path, f".{os.getpid()}") as half:
            np.fromiter(self._hashes, np.uint64, len(self._hashes)).tofile(half)

    @staticmethod
    def _hash(image: Path) -> int:
        found = image.stat()
        facts = f"\0{found.st_size}\0{found.st_mtime_ns}".encode()
        digest = hashlib.sha256(os.fsencode(image.absolute()) + facts).digest()
        return int.from_bytes(digest[:8], "little")


def check_images(
    data_set: DataSet,
    spec: Preprocessing,
    console: Console,
    *,
    skip_bad: bool,
    verified: Path | None = None,
) -> DataSet:
    """
    Decode every image file of *data_set* once; report progress to *console*.

    Args:
        skip_bad: Leave unreadable images out instead of refusing them.
        verified: File that keeps which images were decoded before; None to decode all.

    Returns:
        The data set without unreadable images, whose names are in `skipped`.

    Raises:
        DataError: If images cannot be read; names them. With *skip_bad*, if a class has no others.
    """
    problems = _problems(data_set, spec, Verified(verified), console)
    if not problems:
        return data_set
    names = [data_set.name_of(problem.source) for problem in problems]
    if not skip_bad:
        raise DataError(
            f"{len(problems)} of {len(_files(data_set))} images cannot be used: "
            f"{_listed([f'{problem.source}: {problem.message}' for problem in problems])}. Repair "
            "or remove them, or leave them out with --skip-bad-images"
        )
    images = "1 image" if len(names) == 1 else f"{len(names)} images"
    console.print(f"left out as unreadable: {images}: {_listed(names)}")
    return _without(data_set, {problem.source for problem in problems}, tuple(sorted(names)))


def _listed(texts: Sequence[str]) -> str:
    rest = len(texts) - NAMED
    return "; ".join(texts[:NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def _parts(data_set: DataSet) -> dict[str, Split]:
    return {name: getattr(data_set, name) for name in ("train", "validation", "test")}


def _files(data_set: DataSet) -> list[Path]:
    """Return the images that are files; those in memory come from convoy itself."""
    parts = _parts(data_set).values()
    return [source for part in parts for source in part.sources if isinstance(source, Path)]


def _problems(
    data_set: DataSet, spec: Preprocessing, verified: Verified, console: Console
) -> list[_Problem]:
    def problem_of(path: Path) -> _Problem | None:
        try:
            if path not in verified:
                Split([path], np.zeros(1, np.int64)).decoded(0, spec)
                verified.add(path)
        except DataError as error:
            return _Problem(path, str(error).removeprefix(f"{path}: "))
        except OSError as error:
            return _Problem(path, f"cannot be read: {error.strerror}")
        return None

    problems: list[_Problem] = []
    try:
        # Decoders work outside Python's lock.
        with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
            for chunk in _shown_chunks(_files(data_set), console):
                problems += filter(None, threads.map(problem_of, chunk))
    finally:
        verified.save()  # also after Ctrl-C
    return problems


def _shown_chunks(files: Sequence[Path], console: Console) -> Iterator[Sequence[Path]]:
    """Yield *files* in chunks; show how far this is: a bar on a terminal, lines elsewhere."""
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    if console.is_terminal:
        with Progress(console=console, transient=True) as progress:
            yield from progress.track(chunks, description="checking images")
        return
    for index, chunk in enumerate(chunks):
        if index and index % _LINE_EVERY == 0:
            console.print(f"checked {index * _CHUNK} of {len(files)} images")
        yield chunk


def _without(data_set: DataSet, bad: set[Path], names: tuple[str, ...]) -> DataSet:
    def readable(part: str) -> Split:
        images = _parts(data_set)[part]
        kept = images.part(i for i, source in enumerate(images.sources) if source not in bad)
        if lost := set(images.labels) - set(kept.labels):
            raise DataError(
                f"no readable image of class {data_set.labels[min(lost)]} is left in the {part} "
                f"part of {data_set.name}: repair the images, or add others"
            )
        return kept

    return dataclasses.replace(
        data_set,
        train=readable("train"),
        validation=readable("validation"),
        test=readable("test"),
        skipped=names,
    )
