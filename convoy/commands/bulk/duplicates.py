"""Checks for repeated values in bounded memory: their hashes are sorted into files first."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any, Self

import numpy as np

from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.shards import ParquetShard, Shard, as_python, open_parquet

_BUCKETS = 64
_HASH_BYTES = 16


class Repeats:
    """Values of which one may be repeated. It is to be closed, as it has temporary files."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._buckets: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, value: Any) -> None:
        """Add a value, which its `repr` stands for."""
        if not self._buckets:
            self._buckets = [
                self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - by `__exit__`
                for _ in range(_BUCKETS)
            ]
        hashed = digest(value)
        self._buckets[hashed[0] % _BUCKETS].write(hashed)

    def find(self) -> bytes | None:
        """Return the digest of a value that was added more than once; None if there is none."""
        for bucket in self._buckets:
            bucket.seek(0)
            hashes = np.frombuffer(bucket.read(), f"S{_HASH_BYTES}")
            values, counts = np.unique(hashes, return_counts=True)
            if (counts > 1).any():
                # numpy drops zeros at the end.
                return bytes(values[counts > 1][0]).ljust(_HASH_BYTES, b"\0")
        return None


class IdChecker:
    """
    Checks the ids of Parquet files.

    Args:
        column: The column of ids; empty checks nothing.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self._files: list[ParquetShard] = []
        self._repeats = Repeats()

    def add(self, shard: Shard) -> None:
        """Read the ids of a whole row group with the first of its shards."""
        if self._column and isinstance(shard, ParquetShard) and shard.start == 0:
            self._files.append(shard)
            for value in _ids(shard):
                self._repeats.add(value)

    def check(self) -> None:
        """Raise `BulkError` if two rows have the same id."""
        with self._repeats:
            if repeated := self._repeats.find():
                self._refuse(repeated)

    def _refuse(self, repeated: bytes) -> None:
        for shard in self._files:
            for value in _ids(shard):
                if digest(value) == repeated:
                    raise BulkError(
                        f"{shard.name}: several rows have the {self._column} {value!r}; remove "
                        "all but one, or leave out --id"
                    )


def _ids(shard: ParquetShard) -> Iterator[Any]:
    with open_parquet(shard.path, shard.name, shard.state) as file:
        groups = {"row_groups": [shard.row_group], "use_threads": False}
        for batch in file.iter_batches(10_000, columns=[shard.id_column], **groups):
            yield from map(as_python, batch.column(0))


def digest(value: Any) -> bytes:
    """Return the hash of a value."""
    return hashlib.blake2b(repr(value).encode(), digest_size=_HASH_BYTES).digest()
