"""Files of rows: Parquet, or JSON Lines where pyarrow is not installed."""

from __future__ import annotations

import json
import logging
import math
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, NamedTuple, Protocol

from convoy.service.serving.monitoring.stores import Store

logger = logging.getLogger(__name__)

Row = dict[str, Any]

MAX_ROWS = 10_000
"""Rows after which a part is finished."""

MAX_AGE_S = 60.0
"""Time after which a part is finished, in seconds: what a server that is killed may lose."""

MAX_FILES = 16
"""Maximum number of files that wait for a store that fails."""

RETRY_S = 5.0
"""Time from a failed attempt to the next one, in seconds."""


class Format(Protocol):
    """A way to write rows."""

    suffix: str

    def encode(self, rows: Sequence[Row], /) -> bytes:
        """Return the content of a file with *rows*."""


class Parquet:
    """Rows as Parquet, with the columns of an Arrow *schema*."""

    suffix = "parquet"

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def encode(self, rows: Sequence[Row], /) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=self._schema), buffer)
        return buffer.getvalue()


class JsonLines:
    """Rows as one JSON object a line, with times in ISO 8601."""

    suffix = "jsonl"

    def encode(self, rows: Sequence[Row], /) -> bytes:
        return "".join(json.dumps(row, default=str) + "\n" for row in rows).encode()


class File(NamedTuple):
    """A file that is to be written, and the number of rows in it."""

    path: str
    content: bytes
    rows: int = 0


class Part:
    """
    Rows that will be one file.

    Attributes:
        rows: The rows so far.
        opened_at: Time of the first row, on the monotonic clock.
    """

    def __init__(self, opened_at: float) -> None:
        self.rows: list[Row] = []
        self.opened_at = opened_at


class PartWriter:
    """
    Collects rows in parts by folder, and writes those that are large or old enough.

    If the store fails, files wait for the next attempt. Not thread-safe.

    Args:
        dropped: Called with a reason and the number of rows that were dropped for it.
    """

    def __init__(
        self, store: Store, layout: Format, *, dropped: Callable[[str, int], None]
    ) -> None:
        self._store = store
        self._format = layout
        self._dropped = dropped
        self._parts: dict[str, Part] = {}
        self._files: deque[File] = deque()
        self._attempt_at = -math.inf
        self._failed = False

    @property
    def is_full(self) -> bool:
        """Tells whether so many files wait that it takes no more rows."""
        return len(self._files) >= MAX_FILES

    def add(self, folder: str, rows: Sequence[Row], now: float) -> None:
        """Add rows to the open part of *folder*."""
        part = self._parts.setdefault(folder, Part(now))
        part.rows += rows
        if len(part.rows) >= MAX_ROWS:
            self._finish(folder)

    def add_file(self, path: str, content: bytes) -> None:
        """Write a file beside the parts."""
        self._files.append(File(path, content))

    def write(self, now: float) -> None:
        """Write what is due at *now*, in seconds on the monotonic clock."""
        for folder in [f for f, part in self._parts.items() if part.opened_at + MAX_AGE_S <= now]:
            self._finish(folder)
        while self._files and now >= self._attempt_at:
            self._write(now)

    def close(self) -> None:
        """Write what is left, with one attempt for all of it."""
        for folder in list(self._parts):
            self._finish(folder)
        self._attempt_at = -math.inf
        while self._files and self._write(0.0):
            pass
        if rows := sum(file.rows for file in self._files):
            self._dropped("store_failed", rows)

    def _finish(self, folder: str) -> None:
        rows = self._parts.pop(folder).rows
        try:
            content = self._format.encode(rows)
        except Exception:  # other parts must not be lost for a fault of ours
            logger.exception("internal error")
            self._dropped("internal_error", len(rows))
            return
        # Random: no two servers, and no two lives of one, share the name of a part.
        path = f"{folder}/part-{secrets.token_hex(8)}.{self._format.suffix}"
        self._files.append(File(path, content, len(rows)))

    def _write(self, now: float) -> bool:
        """Write the first file; return whether it is there."""
        file = self._files[0]
        try:
            self._store.write(file.path, file.content)
        except Exception as error:  # each store raises the errors of its own library
            self._attempt_at = now + RETRY_S
            if not self._failed:
                logger.warning("the prediction log cannot be written", extra={"error": str(error)})
            self._failed = True
            return False
        self._files.popleft()
        if self._failed:
            logger.info("the prediction log is written again")
        self._failed = False
        return True
