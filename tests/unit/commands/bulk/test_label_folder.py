"""The folder of labels: files appear whole; formats hold the same rows."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from convoy.bulk.answers import Answer, Model
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.duplicates import IdChecker
from convoy.commands.bulk.label_folder import LabelFolder
from convoy.commands.bulk.label_parts import Format, count_rows, write_rows
from convoy.commands.bulk.sources import shards
from convoy.service.serving.top_k import Prediction
from tests.harness.full_disk import limited_files

MODEL = Model("tiny", 3, "0" * 64)
TIMES = np.array(["2026-01-01T00:00:00.000000002", "2026-01-01"], "datetime64[ns]")
UTC_MS = pa.timestamp("ms", "UTC")
YEAR_0_MS = -62_167_219_200_000
YEAR_10000_MS = 253_402_300_800_000
ANSWERS = [
    Answer([Prediction(2, "a, b", 0.75), Prediction(0, 'ü "c"', 0.25)]),
    Answer(error="INVALID_IMAGE"),
]


@pytest.fixture(params=["disk", "store"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, and a folder in a store."""
    return str(tmp_path / "labels") if request.param == "disk" else f"memory:/{tmp_path}/labels"


def names(location: str) -> list[str]:
    """The files in a folder."""
    store, path = fsspec.core.url_to_fs(location)
    return sorted(name.rpartition("/")[2] for name in store.find(path))


def test_files_appear_whole(location: str) -> None:
    """
    A file is there once it is written; after an error there is nothing, and what was there stays.
    """
    folder = LabelFolder(location)
    assert folder.read("part-0") is None
    assert not folder.has_parts()
    folder.write("part-0", b"one")
    with suppress(RuntimeError), folder.writing("part-1") as file:
        file.write(b"two")
        assert "part-1" not in names(location)
        raise RuntimeError
    assert names(location) == ["part-0"]
    assert folder.read("part-0") == b"one"
    assert folder.has_parts()
    with folder.opened("part-0") as file:
        assert file.read() == b"one"


def test_wildcards_in_the_name_of_a_folder(tmp_path: Path) -> None:
    """
    They are a part of the name on a disk, and refused in a store, which would expand them.
    """
    folder = LabelFolder(str(tmp_path / "run[1]"))
    folder.write("part-0", b"one")
    assert folder.read("part-0") == b"one"
    with pytest.raises(BulkError, match=r"memory://run\[1\] has one of \*\?\[ in its name"):
        LabelFolder("memory://run[1]")


def test_files_of_killed_writers_are_removed(location: str) -> None:
    """
    A temporary file that nobody renamed is removed, and nothing else, as of another program.
    """
    folder = LabelFolder(location)
    for name in (".part-0.0123.tmp", "_convoy/.job.json.0123.tmp", "part-0", "_convoy/job.json"):
        folder.write(name, b"")
    folder.write(".photos.tmp", b"")
    folder.write(".cache.tmp/1.png", b"")
    folder.remove_unfinished()
    assert names(location) == [".photos.tmp", "1.png", "job.json", "part-0"]


def test_url_of_a_disk(tmp_path: Path) -> None:
    """
    A folder that does not exist is made, also if its URL begins with file://.
    """
    LabelFolder(f"file://{tmp_path}/new/labels").write("_convoy/part-0", b"one")
    assert (tmp_path / "new/labels/_convoy/part-0").read_bytes() == b"one"


def test_full_disk(tmp_path: Path) -> None:
    """
    A write that fails is one line with the file, and leaves nothing.
    """
    folder = LabelFolder(str(tmp_path))
    with (
        limited_files(10),
        pytest.raises(BulkError, match=r"cannot write .*part-0: File too large"),
    ):
        folder.write("part-0", b"x" * 100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_formats(form: Format) -> None:
    """
    Each format has all columns, and its rows can be counted.
    """
    file = io.BytesIO()
    found = write_rows([(["x", "y"], ANSWERS), (["z"], ANSWERS[1:])], MODEL, form, file)
    assert found == {None: 1, "INVALID_IMAGE": 2}
    content = file.getvalue()
    assert count_rows(content, form) == found
    top_k = [
        {"label": "a, b", "class_index": 2, "probability": 0.75},
        {"label": 'ü "c"', "class_index": 0, "probability": 0.25},
    ]
    first = {"id": "x", "label": "a, b", "class_index": 2, "probability": 0.75, "top_k": top_k}
    first |= {"error": None, "model": "tiny", "version": 3, "sha256": "0" * 64}
    if form == "parquet":
        rows = pq.read_table(io.BytesIO(content)).to_pylist()
    elif form == "jsonl":
        rows = [json.loads(line) for line in content.decode().splitlines()]
    else:
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        rows[0]["top_k"] = json.loads(rows[0]["top_k"])
        first = {
            name: value if name == "top_k" else "" if value is None else str(value)
            for name, value in first.items()
        }
    assert rows[0] == first
    assert list(rows[0]) == list(first)
    assert [row["id"] for row in rows] == ["x", "y", "z"]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_any_character_in_a_name(form: Format) -> None:
    """
    A name with a character that some readers take for the end of a line is one row.
    """
    file = io.BytesIO()
    found = write_rows(
        [(["a\u2028b", "c\nd", 'e",\x85', "f\r\x0c"], ANSWERS * 2)], MODEL, form, file
    )
    assert count_rows(file.getvalue(), form) == found == {None: 2, "INVALID_IMAGE": 2}


def test_parts_of_tar_files_may_be_empty() -> None:
    """
    A part without rows has the columns of any other.
    """
    empty, other = io.BytesIO(), io.BytesIO()
    write_rows([], MODEL, "parquet", empty)
    write_rows([(["x", "y"], ANSWERS)], MODEL, "parquet", other)
    assert pq.read_table(empty).schema == pq.read_table(other).schema


@pytest.mark.parametrize(
    ("kind", "written", "values", "text"),
    [
        (pa.uint64(), pa.uint64(), [1, 2**64 - 1], "18446744073709551615"),
        (pa.uint16(), pa.int64(), [1, 2], "2"),
        (pa.float32(), pa.float64(), [0.5, 1.5], "1.5"),
        (pa.decimal128(9, 2), pa.decimal128(9, 2), [Decimal("1.50"), Decimal("10.25")], "10.25"),
        (pa.timestamp("ns"), pa.timestamp("ns"), TIMES, "2026-01-01 00:00:00.000000000"),
        (pa.date32(), pa.date32(), [-719_529, 2_932_897], "10000-01-01"),
        (pa.timestamp("ms"), pa.timestamp("ms"), [0, YEAR_0_MS], "0000-01-01 00:00:00.000"),
        (UTC_MS, UTC_MS, [YEAR_0_MS, YEAR_10000_MS], "10000-01-01 00:00:00.000Z"),
        (pa.duration("ns"), pa.duration("ns"), [1, 1500], "1500"),
        (pa.duration("s"), pa.duration("s"), [1, 2**62], "4611686018427387904"),
        (pa.binary(), pa.binary(), [b"a", b"b\xff"], "b\\xff"),
        (pa.large_string(), pa.string(), ["a", "b"], "b"),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), ["a", "b"], "b"),
    ],
)
def test_ids_keep_their_type(
    tmp_path: Path, kind: pa.DataType, written: pa.DataType, values: list[Any], text: str
) -> None:
    """
    Ids in Parquet have the kind of their column, whatever the first ones are; others are text. Some
    times fit in no type of Python: those with nanoseconds, and years before 1 and after 9999.
    """
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": pa.array(values, kind), "image": [b"x"] * 2}), path)
    (shard,) = shards([str(path)], "image", "id", lambda count: None)
    checker = IdChecker("id")
    checker.add(shard)
    checker.check()
    # Each in a piece of its own.
    rows = [([key], ANSWERS[:1]) for key, _ in shard.rows()]
    parts: dict[Format, io.BytesIO] = {"parquet": io.BytesIO(), "jsonl": io.BytesIO()}
    for form, file in parts.items():
        write_rows(rows, MODEL, form, file)
    column = pq.read_table(parts["parquet"])["id"]
    assert column.equals(pa.chunked_array([pa.array(values, written)]))
    last = json.loads(parts["jsonl"].getvalue().splitlines()[1])
    assert str(last["id"]) == text


def test_ids_that_are_no_numbers() -> None:
    """
    NaN and infinity are null in JSON Lines, also in a list or a struct: JSON has no such number.
    """

    def refuse(name: str) -> None:
        raise AssertionError(name)

    nan, inf = float("nan"), float("inf")
    for ids, written in (
        ([nan, inf, -inf, 0.5], [None, None, None, 0.5]),
        ([[nan, 1.5]], [[None, 1.5]]),
        ([{"a": inf, "b": [nan]}], [{"a": None, "b": [None]}]),
    ):
        file = io.BytesIO()
        write_rows([(list(pa.array(ids)), ANSWERS[:1] * len(ids))], MODEL, "jsonl", file)
        lines = file.getvalue().splitlines()
        assert [json.loads(line, parse_constant=refuse)["id"] for line in lines] == written


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_rows_of_many_classes(form: Format) -> None:
    """
    Rows with a thousand classes and long labels are counted.
    """
    answer = Answer(
        [Prediction(index, "a label of many words" * 5, 0.001) for index in range(1000)]
    )
    file = io.BytesIO()
    write_rows([(["x"], [answer])], MODEL, form, file)
    assert len(file.getvalue()) > 131_072 or form == "parquet"
    assert count_rows(file.getvalue(), form) == {None: 1}
