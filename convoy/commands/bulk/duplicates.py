"""A check that ids are unique, in bounded memory: their hashes are sorted into files first."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.shards import ParquetShard, Shard, as_python, open_parquet

_BUCKETS = 64
_HASH_BYTES = 16


class IdChecker:
    """
    Checks the ids of Parquet files.

    Args:
        column: The column of ids; empty checks nothing.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self._files: list[ParquetShard] = []
        self._open = ExitStack()
        self._buckets = [
            self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - by `check`
            for _ in range(_BUCKETS if column else 0)
        ]

    def add(self, shard: Shard) -> None:
        """Read the ids of a whole row group with the first of its shards."""
        if self._column and isinstance(shard, ParquetShard) and shard.start == 0:
            self._files.append(shard)
            for value in _ids(shard):
                digest = _digest(value)
                self._buckets[digest[0] % _BUCKETS].write(digest)

    def check(self) -> None:
        """Raise `BulkError` if two rows have the same id."""
        with self._open:
            for bucket in self._buckets:
                bucket.seek(0)
                hashes = np.frombuffer(bucket.read(), f"V{_HASH_BYTES}")
                values, counts = np.unique(hashes.view(f"S{_HASH_BYTES}"), return_counts=True)
                if (counts > 1).any():
                    self._refuse(bytes(values[counts > 1][0]))

    def _refuse(self, digest: bytes) -> None:
        for shard in self._files:
            for value in _ids(shard):
                if _digest(value).rstrip(b"\0") == digest:
                    raise BulkError(
                        f"{shard.name}: several rows have the {self._column} {value!r}; remove "
                        "all but one, or leave out --id"
                    )


def _ids(shard: ParquetShard) -> Iterator[Any]:
    with open_parquet(shard.path, shard.name, shard.state) as file:
        groups = {"row_groups": [shard.row_group], "use_threads": False}
        for batch in file.iter_batches(10_000, columns=[shard.id_column], **groups):
            yield from map(as_python, batch.column(0))


def _digest(value: Any) -> bytes:
    return hashlib.blake2b(repr(value).encode(), digest_size=_HASH_BYTES).digest()
