"""The folder of labels: on a disk, or in a store. A file appears there whole or not at all."""

from __future__ import annotations

import glob
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from convoy.commands.bulk.bulk_error import BulkError
from convoy.stores import is_url, open_store, reaching

JOB_FOLDER = "_convoy"
"""The folder of a job's own files; readers of Parquet folders skip names that begin so."""

_PART = "part-"

_UNFINISHED = (f".{_PART}*.tmp", f"{JOB_FOLDER}/.*.tmp")
"""Temporary files of `writing`. The folder of labels may have others, of other programs."""


def part_name(number: int, suffix: str) -> str:
    """Return the file name of a part."""
    return f"{_PART}{number:06d}.{suffix}"


class LabelFolder:
    """
    A folder for labels.

    Args:
        location: A path or a URL.

    Raises:
        BulkError: If the name of a folder in a store holds wildcards.
        RepositoryError: If there is no such kind of store.
    """

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/") or "/"
        self._store: Any = None
        self._path = self.location
        if is_url(location):
            self._store, self._path = open_store(self.location)
            # fsspec would expand them, and rename no file there.
            if glob.has_magic(self._path):
                raise BulkError(f"{location} has one of *?[ in its name; choose another folder")

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if there is none."""
        try:
            if self._store is None:
                return Path(self._path, name).read_bytes()
            with reaching(self.location):
                return bytes(self._store.cat_file(f"{self._path}/{name}"))
        except FileNotFoundError:
            return None

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for reading."""
        if self._store is None:
            with open(Path(self._path, name), "rb") as file:
                yield file
        else:
            with reaching(self.location), self._store.open(f"{self._path}/{name}", "rb") as file:
                yield file

    def write(self, name: str, content: bytes) -> None:
        """Write a file under a temporary name, and rename it; raise the errors of `writing`."""
        with self.writing(name) as file:
            file.write(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """
        Open a temporary file, and rename it to *name* when the block ends without an error.

        Raises:
            BulkError: If the disk cannot be written.
            RepositoryError: If the store cannot be written.
        """
        # A hidden name, which no reader of the folder takes for labels.
        parent, _, last = name.rpartition("/")
        hidden = "/".join(filter(None, (parent, f".{last}.{uuid.uuid4().hex[:8]}.tmp")))
        with self._explaining(name):
            if self._store is None:
                with _disk_file(Path(self._path, hidden), Path(self._path, name)) as file:
                    yield file
                return
            with tempfile.TemporaryFile() as file:
                yield file
                with reaching(self.location, "write"):
                    self._upload(file, f"{self._path}/{hidden}")
                    self._store.mv(f"{self._path}/{hidden}", f"{self._path}/{name}")

    def _upload(self, file: IO[bytes], path: str) -> None:
        size = file.tell()
        file.seek(0)
        if size < 1 << 26:
            self._store.pipe_file(path, file.read())
            return
        with self._store.open(path, "wb") as target:
            while block := file.read(1 << 24):
                target.write(block)

    def has_parts(self) -> bool:
        """Return whether the folder has parts of any job."""
        try:
            if self._store is None:
                return any(name.startswith(_PART) for name in os.listdir(self._path))
            self._store.invalidate_cache(self._path)
            with reaching(self.location):
                found = self._store.ls(self._path, detail=False)
            return any(path.rpartition("/")[2].startswith(_PART) for path in found)
        except FileNotFoundError:
            return False

    def remove_unfinished(self) -> None:
        """Remove the temporary files of writers that were killed."""
        if self._store is None:
            for pattern in _UNFINISHED:
                for path in Path(self._path).glob(pattern):
                    path.unlink(missing_ok=True)
            return
        with reaching(self.location, "write"):
            for pattern in _UNFINISHED:
                for path in self._store.glob(f"{self._path}/{pattern}"):
                    self._store.rm_file(path)

    @contextmanager
    def _explaining(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise BulkError(f"cannot write {self.location}/{name}: {reason}") from error


@contextmanager
def _disk_file(hidden: Path, final: Path) -> Iterator[IO[bytes]]:
    hidden.parent.mkdir(parents=True, exist_ok=True)
    try:
        with hidden.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a machine that stops leaves no empty part
        hidden.rename(final)
    finally:
        with suppress(FileNotFoundError):  # renamed
            hidden.unlink()
