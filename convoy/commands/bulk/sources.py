"""The input of a job, as a stream of shards. No list of all images is ever in memory."""

from __future__ import annotations

import functools
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from convoy.bulk.images import File
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.duplicates import Repeats, digest
from convoy.commands.bulk.label_folder import JOB_FOLDER
from convoy.commands.bulk.listing import matching, walk
from convoy.commands.bulk.overlaps import check_apart
from convoy.commands.bulk.shards import (
    READ_BYTES,
    SHARD_IMAGES,
    FileShard,
    ParquetShard,
    Shard,
    TarShard,
    open_parquet,
    state_of,
)
from convoy.commands.bulk.wildcards import files_matching
from convoy.commands.image_files import has_image_name, images_below, is_entered
from convoy.stores import is_url, open_store, reaching

MAX_SHARD_IMAGES = 10_000
"""Rows in a shard of a Parquet file of small images: skipping to a range has its cost."""

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_PARQUET = (".parquet", ".pq")
_TAR = (".tar", ".tar.gz", ".tgz")
_OTHER_ARCHIVES = (".zip", ".7z", ".rar", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")

Listed = Callable[[int], None]
"""Called with the number of files that were listed so far."""


def shards(sources: Iterable[str], column: str, id_column: str, listed: Listed) -> Iterator[Shard]:
    """
    List the input.

    Raises:
        BulkError: If a source does not exist, holds no image, is not what it seems to be, lies in
            another one, or has a file of another one; if ids are to come from a column, and there
            is none.
        OSError: If a disk cannot be read.
        RepositoryError: If a store cannot be read.
    """
    sources = list(sources)
    check_apart(sources)
    files: list[File] = []
    has_parquet = False
    for count, file in enumerate(_files_once(sources), 1):
        listed(count)
        if file.path.lower().endswith(_PARQUET):
            has_parquet = True
            yield from _parquet(file.path, column, id_column)
        elif file.path.lower().endswith(_TAR):
            yield TarShard(_absolute(file.path), file.path, state_of(_absolute(file.path)))
        elif file.path.lower().endswith(_OTHER_ARCHIVES):
            raise BulkError(f"cannot read this kind of archive: {file.path}; unpack it")
        else:
            files.append(file)
        if len(files) == SHARD_IMAGES:
            yield FileShard(os.getcwd(), tuple(files))
            files = []
    if files:
        yield FileShard(os.getcwd(), tuple(files))
    if id_column and not has_parquet:
        raise BulkError(f"--id {id_column} is for Parquet files, and there are none; leave it out")


def _files_once(sources: Sequence[str]) -> Iterator[File]:
    """Yield the files; raise `BulkError` behind the last one if a file came twice."""
    # One folder or wildcard has each file once.
    if len(sources) == 1 and not _BRACES.search(sources[0]):
        yield from (file for _, file in _files(sources))
        return
    real = functools.lru_cache(1000)(os.path.realpath)

    def place(file: File) -> str:
        # A link to a file has a name and a row of its own, and one to a folder has not.
        folder, name = os.path.split(file.path)
        return file.path if is_url(file.path) else os.path.join(real(folder), name)

    with Repeats() as repeats:
        for _, file in _files(sources):
            repeats.add(place(file))
            yield file
        if repeated := repeats.find():
            again = (pair for pair in _files(sources) if digest(place(pair[1])) == repeated)
            readers = list(islice(again, 2))
            if len(readers) < 2:
                raise BulkError("files vanished while they were listed; run the command again")
            (first, file), (second, _) = readers
            if first == second:
                raise BulkError(f"{file.path} is read twice with {first}: choose another pattern")
            raise BulkError(
                f"{file.path} is read with {first} and with {second}: leave out one of them"
            )


def _files(sources: Iterable[str]) -> Iterator[tuple[str, File]]:
    """Yield the files, each with its source."""
    for source in sources:
        for part in _expand(source):
            for file in _stored(part) if is_url(part) else _local(part):
                yield source, file


def _expand(source: str) -> Iterator[str]:
    """Expand `{0000..0099}`, as bash does."""
    found = _BRACES.search(source)
    if not found or os.path.exists(source):
        yield source
        return
    first, last = int(found[1]), int(found[2])
    is_padded = any(text.startswith("0") and len(text) > 1 for text in found.groups())
    width = max(map(len, found.groups())) if is_padded else 1
    for number in range(first, last + 1) if first <= last else range(first, last - 1, -1):
        yield from _expand(f"{source[: found.start()]}{number:0{width}}{source[found.end() :]}")


def _local(source: str) -> Iterator[File]:
    # A name may hold wildcards itself.
    if glob.has_magic(source) and not os.path.lexists(source):
        yield from _some(map(_state, filter(_is_input, files_matching(source))), source)
    elif os.path.isdir(source):
        yield from _some(map(_state, images_below(source)), source)
    elif os.path.exists(source):
        yield _state(source)
    else:
        raise BulkError(f"there is no {source}")


def _state(file: str | os.DirEntry[str]) -> File:
    try:
        state = os.stat(file)
    except OSError:  # a link that leads nowhere: a row with a reason
        return File(os.fspath(file))
    return File(os.fspath(file), state.st_size, state.st_mtime_ns)


def _stored(source: str) -> Iterator[File]:
    if "::" in source:
        raise BulkError(f"cannot read a chain of URLs: {source}; unpack the archive, or copy it")
    store, path = open_store(source)
    store.invalidate_cache()

    def file(entry: dict[str, object]) -> File:
        size = entry.get("size")
        name = store.unstrip_protocol(str(entry["name"]))
        return File(name, size if isinstance(size, int) else None)

    # A name may hold wildcards itself.
    if (known := _info(store, path, source)) and known["type"] == "file":
        yield file(known)
        return
    if glob.has_magic(path):
        found = (entry for entry in matching(store, path, source) if _is_input(entry["name"]))
    else:
        files = walk(store, path, source, is_entered)
        found = (entry for entry in files if has_image_name(entry["name"]))
    yield from _some(map(file, found), source)


def _is_input(path: str) -> bool:
    """Return whether a file is not of a job itself, whose labels may be among the images."""
    return os.path.basename(os.path.dirname(path)) != JOB_FOLDER


def _info(store: Any, path: str, source: str) -> dict[str, Any] | None:
    try:
        with reaching(source):
            return dict(store.info(path))
    except FileNotFoundError:
        return None


def _some(files: Iterator[File], source: str) -> Iterator[File]:
    """Yield *files*, of which there must be one."""
    first = next(files, None)
    if first is None:
        raise BulkError(f"no images in {source}; name Parquet and tar files with a wildcard: *.tar")
    yield first
    yield from files


def _absolute(path: str) -> str:
    return path if is_url(path) else str(Path(path).absolute())


def _parquet(name: str, column: str, id_column: str) -> Iterator[ParquetShard]:
    path = _absolute(name)
    state, first_row = state_of(path), 0
    with open_parquet(path, name, state) as file:
        for option, wanted in (("column", column), ("id", id_column)):
            if wanted:
                _check_column(file.schema_arrow, wanted, name, option)
        _check_holds_images(file.schema_arrow.field(column).type, name, column)
        for index in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(index)
            chunks = (group.column(each) for each in range(group.num_columns))
            image_bytes = sum(
                chunk.total_uncompressed_size
                for chunk in chunks
                if f"{chunk.path_in_schema}.".startswith(f"{column}.")
            )
            row_bytes = image_bytes // max(1, group.num_rows)
            size = max(SHARD_IMAGES, min(MAX_SHARD_IMAGES, READ_BYTES // max(1, row_bytes)))
            for start in range(0, group.num_rows, size):
                yield ParquetShard(
                    path=path,
                    name=name,
                    state=state,
                    column=column,
                    id_column=id_column,
                    row_group=index,
                    first_row=first_row,
                    start=start,
                    stop=min(start + size, group.num_rows),
                    row_bytes=row_bytes,
                    root=os.getcwd(),
                )
            first_row += group.num_rows


def _check_column(schema: Any, column: str, name: str, option: str) -> None:
    """Raise `BulkError` if there is no such column, or if names in it are not clear."""
    from pyarrow import types

    if column not in schema.names:
        there = ", ".join(schema.names)
        raise BulkError(f"{name} has no column {column!r}: choose --{option} of {there}")
    if schema.names.count(column) > 1:
        raise BulkError(f"{name} has several columns {column!r}; rename all but one")
    kind = schema.field(column).type
    fields = [field.name for field in kind] if types.is_struct(kind) else []
    if len(fields) > len(set(fields)):
        raise BulkError(
            f"{name}: the column {column!r} has several fields of one name; rename them"
        )


def _check_holds_images(kind: Any, name: str, column: str) -> None:
    """Raise `BulkError` if a column of this Arrow type cannot hold images."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    is_any = (
        types.is_binary,
        types.is_large_binary,
        types.is_fixed_size_binary,
        types.is_binary_view,
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_null,
    )
    # Other structs, such as Spark's of pixels, would be rows without an image.
    has_image = types.is_struct(kind) and {"bytes", "path"} & {field.name for field in kind}
    if not has_image and not any(check(kind) for check in is_any):
        raise BulkError(
            f"{name}: the column {column!r} holds {kind}, not images; choose a --column of encoded "
            "bytes, paths, or structs of bytes and path"
        )
