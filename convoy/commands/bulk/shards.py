"""Shards: fixed ranges of the input, which can be written as JSON and read anywhere."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any, Protocol, Self

from convoy.bulk.images import INPUT_UNREADABLE, LIMITS, File, Image, Unread
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.image_files import has_image_name
from convoy.service.errors import ImageTooLargeError
from convoy.stores import is_url, open_store, reaching

SHARD_IMAGES = 500
"""Images in a shard of files."""

READ_BYTES = 16 << 20
"""Bytes of a Parquet file in memory at once, as far as its average row tells."""

_GZIP = b"\x1f\x8b"
"""The first bytes of a gzip file (RFC 1952, 2.3.1)."""


class Shard(Protocol):
    """A fixed range of the input."""

    @property
    def images(self) -> int | None:
        """The number of images; None if only reading shows it."""

    def rows(self) -> Iterator[tuple[Any, Image]]:
        """
        Read the images, each with its id.

        Raises:
            BulkError: If the file changed since it was listed, is damaged, or lacks an id.
            OSError, RepositoryError: If it cannot be read.
        """


@dataclass(frozen=True, slots=True)
class FileShard:
    """
    Image files.

    Attributes:
        root: The folder that relative paths start from.
    """

    root: str
    files: tuple[File, ...]

    @property
    def images(self) -> int:
        return len(self.files)

    def rows(self) -> Iterator[tuple[Any, Image]]:
        for file in self.files:
            path = file.path if is_url(file.path) else os.path.join(self.root, file.path)
            yield as_text(file.path), file._replace(path=path)


@dataclass(frozen=True, slots=True)
class ParquetShard:
    """
    Rows *start* to *stop* of one row group of a Parquet file.

    Attributes:
        name: The file as the user named it.
        state: Its state when it was listed.
        first_row: Number of the row group's first row in the file.
        row_bytes: Average size of an image.
        root: The folder that relative paths in the column start from.
    """

    path: str
    name: str
    state: str
    column: str
    id_column: str
    row_group: int
    first_row: int
    start: int
    stop: int
    row_bytes: int
    root: str

    @property
    def images(self) -> int:
        return self.stop - self.start

    def rows(self) -> Iterator[tuple[Any, Image]]:
        row = 0
        with open_parquet(self.path, self.name, self.state) as file:
            for batch in file.iter_batches(
                max(1, min(256, READ_BYTES // max(1, self.row_bytes))),
                row_groups=[self.row_group],
                columns=[self.column, *filter(None, [self.id_column])],
                use_threads=False,
            ):
                first, row = row, row + len(batch)
                start, stop = max(first, self.start), min(row, self.stop)
                if start < stop:
                    part = batch.slice(start - first, stop - start)
                    images = map(self._image, part.column(self.column).to_pylist())
                    yield from zip(self._ids(part, start), images, strict=True)
                if row >= self.stop:
                    return

    def _image(self, value: Any) -> Image:
        """Return a value of the column; its path, if it has one, for any worker."""
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        # An empty text is no path, and the root is one.
        is_path = isinstance(value, str) and value and not is_url(value)
        return os.path.join(self.root, value) if is_path else value

    def _ids(self, batch: Any, first: int) -> list[Any]:
        number = self.first_row + first
        if not self.id_column:
            name = as_text(self.name)
            return [f"{name}#{number + index}" for index in range(len(batch))]
        column = batch.column(self.id_column)
        if column.null_count:
            row = number + column.is_null().index(True).as_py()
            raise BulkError(f"{self.name}: row {row} has no {self.id_column}; leave out --id")
        # Scalars of Arrow keep the type of the column, such as uint64 or decimal.
        return list(widened(column))


@dataclass(frozen=True, slots=True)
class TarShard:
    """The images of a tar file, such as WebDataset has."""

    path: str
    name: str
    state: str

    @property
    def images(self) -> None:
        return None

    def rows(self) -> Iterator[tuple[Any, Image]]:
        with open_unchanged(self.path, self.name, self.state) as file:
            try:
                yield from self._members(file)
            except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
                raise BulkError(f"{self.name}: damaged: {error}; copy it again") from error

    def _members(self, file: IO[bytes]) -> Iterator[tuple[str, Image]]:
        with _decompressed(file) as plain:
            with tarfile.open(fileobj=plain, mode="r|", tarinfo=_Member) as archive:
                for member in archive:
                    if has_image_name(member.name) and not member.isdir():
                        yield as_text(f"{self.name}/{member.name}"), _content(archive, member)
                self._check_end(archive)
            # The checksum of gzip comes last.
            while plain.read(READ_BYTES):
                pass

    def _check_end(self, archive: tarfile.TarFile) -> None:
        """Refuse more members behind the end, which begins with a block of zeros."""
        while block := archive.fileobj.read(READ_BYTES):
            if block.strip(b"\0"):
                raise BulkError(
                    f"{self.name}: has data after its end: part of it may be zeros, as after an "
                    "interrupted download, or it may be several tar files in one; copy it again, "
                    "or join tar files with tar --concatenate"
                )


class _Member(tarfile.TarInfo):
    """The header of a member. One that is damaged or missing is an error, not the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            # A block of zeros is the end.
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            # `TarFile` takes the others for the end, too, and the images behind would be lost.
            raise tarfile.ReadError(str(error)) from error


def to_json(shard: Shard) -> str:
    """Write a shard as one line."""
    return json.dumps([type(shard).__name__, asdict(shard)])  # type: ignore[call-overload]


def from_json(line: str) -> Shard:
    """Read the line of a shard."""
    kind, fields = json.loads(line)
    if kind == "FileShard":
        return FileShard(fields["root"], tuple(File(*file) for file in fields["files"]))
    return TarShard(**fields) if kind == "TarShard" else ParquetShard(**fields)


def state_of(path: str) -> str:
    """
    Return a text that changes when the file does; of a store, whatever it calls the state.

    Raises:
        OSError: If there is no such file.
        RepositoryError: If its store cannot be read.
    """
    if is_url(path):
        store, inside = open_store(path)
        with reaching(path):
            return str(store.ukey(inside))
    state = os.stat(path)
    return f"{state.st_size} {state.st_mtime_ns}"


@contextmanager
def open_unchanged(path: str, name: str, state: str) -> Iterator[IO[bytes]]:
    """Open a file that is still in *state*; raises `BulkError` if it is not."""
    try:
        if state_of(path) != state:
            raise BulkError(f"{name} changed since the job began; start another job for it")
    except FileNotFoundError:
        raise BulkError(f"{name} vanished since the job began; bring it back, and resume") from None
    if is_url(path):
        store, inside = open_store(path)
        with reaching(path), store.open(inside, "rb") as file:
            yield file
    else:
        try:
            with open(path, "rb") as file:
                yield file
        except OSError as error:
            raise BulkError(f"cannot read {name}: {error.strerror or error}") from error


@contextmanager
def open_parquet(path: str, name: str, state: str) -> Iterator[Any]:
    """Open a Parquet file that is still in *state*; raises `BulkError` if it is not, or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_unchanged(path, name, state) as file:
        try:
            # Pages are read as they are needed: a row group can be larger than the memory.
            with pq.ParquetFile(
                file,
                pre_buffer=False,
                buffer_size=1 << 20,
                page_checksum_verification=True,
            ) as parquet:
                yield parquet
        except UnicodeDecodeError as error:  # Arrow does not check what it reads
            raise BulkError(
                f"{name}: the text {error.object[:40]!r} is not UTF-8; write its column as binary"
            ) from error
        except (pa.ArrowException, OSError) as error:
            # Of the disk or the store, and not of Arrow, which raises plain ones for damage.
            if isinstance(error, OSError) and (error.errno or type(error) is not OSError):
                raise
            raise BulkError(f"{name}: not a Parquet file, or damaged: {error}") from error


def as_text(name: str) -> str:
    """Return the name of a file, which may hold any bytes, as text for labels."""
    return os.fsencode(name).decode(errors="backslashreplace")


def widened(column: Any) -> Any:
    """Return an Arrow array in the widest type of its kind, which other files may have."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return column.cast(pa.int64())
    if pa.types.is_floating(kind):
        return column.cast(pa.float64())
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return column.cast(pa.string()) if is_text else column


def as_python(scalar: Any) -> Any:
    """Return the value of an Arrow scalar; as text if it is a time that Python cannot hold."""
    import pyarrow as pa

    if not pa.types.is_temporal(scalar.type):
        return scalar.as_py()
    if getattr(scalar.type, "unit", None) != "ns":
        try:
            return scalar.as_py()
        except OverflowError:  # such as year 0 and year 10000
            pass
    return scalar.cast(pa.string()).as_py()


def _decompressed(file: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    is_gzip = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if is_gzip else file


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Image:
    # A link leads to a member that the stream has passed, or to none.
    if not member.isfile():
        return Unread(INPUT_UNREADABLE)
    if member.size > LIMITS.max_bytes:
        return Unread(ImageTooLargeError.reason)
    file = archive.extractfile(member)
    assert file  # it is a file
    return file.read()
