"""The formats of parts: rows of labels as Parquet, JSON Lines or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import IO, Any, Literal

from convoy.bulk.answers import COLUMNS, Answer, Model, arrow_columns, columns
from convoy.commands.bulk.shards import as_python

Format = Literal["parquet", "jsonl", "csv"]

Failures = Counter[str | None]
"""Rows by the reason of their error; None for those with an answer."""

Rows = Iterable[tuple[Sequence[Any], Sequence[Answer]]]
"""Ids and answers, in pieces of a few hundred. An id is a text, or a scalar of Arrow."""


def write_rows(rows: Rows, model: Model, form: Format, file: IO[bytes]) -> Failures:
    """Write *rows*, and count them."""
    failures: Failures = Counter()
    writer = _WRITERS[form](file)
    for ids, answers in rows:
        failures.update(answer.error for answer in answers)
        writer.write(list(ids), columns(answers, model))
    writer.close()
    return failures


def count_rows(content: bytes, form: Format) -> Failures:
    """
    Count the rows of a part that is complete.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        return _count(content, form)
    except (KeyError, TypeError, OSError, csv.Error) as error:
        raise ValueError(str(error)) from error


def _count(content: bytes, form: Format) -> Failures:
    if form == "parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(content), columns=["error"])
        return Counter(table.column("error").to_pylist())
    # Names may hold characters, such as U+2028, at which str.splitlines would divide a line.
    if form == "csv":
        # A field has 128 KiB by default, and a thousand classes with long labels need more.
        csv.field_size_limit(len(content))
        rows = csv.DictReader(io.StringIO(content.decode(), newline=""))
        if rows.fieldnames != ["id", *COLUMNS]:
            raise ValueError("it has other columns than labels")
        return Counter(row["error"] or None for row in rows)
    return Counter(json.loads(line)["error"] for line in content.split(b"\n") if line)


class _ParquetRows:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, ids: list[Any], answers: dict[str, list[Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # The ids of an empty part have no type of their own.
        column = pa.array(ids, None if ids else pa.string())
        table = pa.table({"id": column, **arrow_columns(answers)})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is None:
            self.write([], {name: [] for name in COLUMNS})
        self._writer.close()


class _JsonRows:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, ids: list[Any], answers: dict[str, list[Any]]) -> None:
        for key, *values in zip(map(_plain, ids), *answers.values(), strict=True):
            row = {"id": _finite(key), **dict(zip(answers, values, strict=True))}
            self._file.write(json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n")

    def close(self) -> None:
        """Write nothing: lines need no end."""


class _CsvRows:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._write([["id", *COLUMNS]])

    def write(self, ids: list[Any], answers: dict[str, list[Any]]) -> None:
        answers = answers | {"top_k": [json.dumps(classes) for classes in answers["top_k"]]}
        self._write(zip(map(_plain, ids), *answers.values(), strict=True))

    def close(self) -> None:
        """Write nothing: lines need no end."""

    def _write(self, rows: Iterable[Iterable[Any]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        self._file.write(text.getvalue().encode())


def _plain(key: Any) -> Any:
    """Return an id, a scalar of Arrow or a text, for a file of text."""
    if isinstance(key, str):
        return key
    value = as_python(key)
    # Some programs write text to Parquet files without saying that it is text.
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def _finite(value: Any) -> Any:
    """Return an id with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return list(map(_finite, value)) if isinstance(value, list | tuple) else value


_WRITERS: dict[Format, type[_ParquetRows | _JsonRows | _CsvRows]] = {
    "parquet": _ParquetRows,
    "jsonl": _JsonRows,
    "csv": _CsvRows,
}
