"""The loop over the shards: what ends a worker is found, down to the image."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.bulk_runner import Runner
from convoy.commands.bulk.engines.local_engine import LocalEngine
from convoy.commands.bulk.label_parts import Failures
from convoy.commands.bulk.labelling import Labelling
from convoy.commands.bulk.shards import Shard
from convoy.commands.bulk.sources import shards
from tests.harness.bulk import Suicidal, rows

pytestmark = pytest.mark.timeout(240)  # processes are started one by one


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    """Two workers."""
    made = LocalEngine(2)
    yield made
    made.close()
    for process in multiprocessing.active_children():
        process.join()


def write(folder: Path, texts: list[str]) -> list[tuple[int, Shard]]:
    """Write files and list them in shards of four."""
    folder.mkdir()
    for index, text in enumerate(texts):
        (folder / f"{index:02d}.png").write_text(text)
    paths = sorted(str(path) for path in folder.iterdir())
    found: list[Shard] = []
    for start in range(0, len(paths), 4):
        found += shards(paths[start : start + 4], "", "", lambda count: None)
    return list(enumerate(found))


def test_images_that_end_workers_are_rows(tmp_path: Path, engine: LocalEngine) -> None:
    """
    Each of them has a row; all others, also of the same shard, are answered.
    """
    texts = ["deadly" if index in (1, 2, 9) else f"image {index}" for index in range(12)]
    found = write(tmp_path / "images", texts)
    total: Failures = Counter()
    labels = tmp_path / "labels"
    labelling = Labelling(Suicidal(b"deadly"), str(labels), "parquet")
    Runner(engine, labelling, lambda part: total.update(part.rows if part else {})).run(found)
    assert total == {None: 9, "WORKER_CRASHED": 3}
    expected = [(None, "WORKER_CRASHED") if t == "deadly" else (t, None) for t in texts]
    assert list(dict(sorted(rows(labels).items())).values()) == expected


def test_a_model_that_ends_every_worker(tmp_path: Path, engine: LocalEngine) -> None:
    """
    No image is blamed if any of them ends the worker.
    """
    found = write(tmp_path / "images", ["deadly"] * 4)
    labelling = Labelling(Suicidal(b"deadly"), str(tmp_path / "labels"), "parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convoy.commands.bulk.bulk_runner.MAX_CRASHES", 1)
        with pytest.raises(BulkError, match="a worker ended repeatedly at part 0"):
            Runner(engine, labelling, lambda part: None).run(found)


def test_a_worker_that_is_killed_between_shards(engine: LocalEngine) -> None:
    """
    A pool whose process is gone is replaced.
    """
    os.kill(engine.submit(os.getpid).result(), signal.SIGKILL)
    os.kill(engine.submit(os.getpid).result(), signal.SIGKILL)
    time.sleep(0.5)  # the pools notice
    assert psutil.pid_exists(engine.submit(os.getpid).result())


def test_workers_import_no_pandas(engine: LocalEngine) -> None:
    """
    A worker makes Arrow's arrays as without pandas, which takes long to import.
    """
    assert engine.submit(_pandas_after_an_array).result() is False


def _pandas_after_an_array() -> bool:
    import pyarrow as pa

    assert pa.array(["one", None]).null_count == 1
    return "pandas" in sys.modules
