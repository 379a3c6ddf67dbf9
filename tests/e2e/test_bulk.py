"""`convoy bulk` as a process: its labels, its exit codes, and whatever interrupts it."""

from __future__ import annotations

import json
import os
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.harness import tiny
from tests.harness.bulk import expected_rows, rows, start_bulk, write_images, write_parquet

pytestmark = pytest.mark.timeout(300)

Bulk = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bulk(tmp_path: Path) -> Bulk:
    """Run the command with the tiny model; return its exit code and what it prints."""
    tiny.write(tmp_path / "model_repository")

    def run(*arguments: str) -> tuple[int, str, str]:
        process = start_bulk(["tiny", *arguments, "--to", "labels"], tmp_path)
        output, errors = process.communicate(timeout=120)
        return process.returncode, output, errors

    return run


def record(folder: Path) -> dict[str, Any]:
    """The content of job.json."""
    found: dict[str, Any] = json.loads((folder / "labels/_convoy/job.json").read_bytes())
    return found


def table(output: str) -> dict[str, str]:
    """The final table: values by name."""
    pairs = (line.split("  ", 1) for line in output.splitlines())
    return {name: value.strip() for name, value in pairs}


def until(condition: Callable[[], Any]) -> None:
    """Wait until *condition* holds."""
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_folder(bulk: Bulk, tmp_path: Path) -> None:
    """
    Every image has its row; the record has the counts, and a second run needs --resume.
    """
    write_images(tmp_path / "photos", 1200)
    code, first, errors = bulk("photos")
    assert code == 0, errors
    assert (table(first)["INVALID_IMAGE"], "this run" in table(first)) == ("12", False)
    assert "Traceback" not in errors
    names = (f"photos/{index:06d}.png" for index in range(1200))
    assert rows(tmp_path / "labels") == dict(zip(names, expected_rows(1200), strict=True))
    found = record(tmp_path)
    assert (found["state"], found["images"], found["failures"]) == (
        "finished",
        1200,
        {"INVALID_IMAGE": 12},
    )
    assert found["input"]["shards"] == 3
    code, _, errors = bulk("photos")
    assert (code, "has this job already (finished): continue it with --resume" in errors) == (
        1,
        True,
    )
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").glob("part-*")}
    code, output, errors = bulk("photos", "--resume")
    assert code == 0, errors
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert table(output) == table(first) | {"this run": "0 images", "images/s": "0.0"}
    code, _, errors = bulk("photos", "--resume", "--top-k", "2")
    assert code == 1
    assert "the labels of another job (with another --top-k)" in errors


def test_new_version(bulk: Bulk, tmp_path: Path) -> None:
    """
    If a version has appeared since the job began, the error names both, and the one to give.
    """
    write_images(tmp_path / "photos", 3)
    assert bulk("photos")[0] == 0
    tiny.write(tmp_path / "model_repository", version=2)
    code, _, errors = bulk("photos", "--resume")
    assert (code, errors.splitlines()[-1]) == (
        1,
        "convoy bulk: labels has labels made by tiny version 1; the newest is 2: give tiny:1, or "
        "choose another folder",
    )
    assert (
        "with another version of tiny (1 there, 2 here) and --top-k"
        in (bulk("photos", "--resume", "--top-k", "2")[2])
    )
    process = start_bulk(["tiny:1", "photos", "--resume", "--to", "labels"], tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


@pytest.mark.parametrize("victim", ["command", "worker"])
def test_killed(bulk: Bulk, tmp_path: Path, victim: str) -> None:
    """
    After kill -9 no row is missing and none is double; finished parts are not written again.
    """
    write_parquet(tmp_path / "photos.parquet", 30_000, row_group_size=10_000)
    arguments = ["photos.parquet", "--id", "key"]
    process = start_bulk(["tiny", *arguments, "--to", "labels", "--workers", "2"], tmp_path)
    until(lambda: list((tmp_path / "labels").glob("part-*")))
    workers = psutil.Process(process.pid).children(recursive=True)
    if victim == "command":
        process.kill()
        process.communicate()
        # The workers see it, and end.
        assert psutil.wait_procs(workers, 20)[1] == []
        done = {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").glob("part-*")}
        assert record(tmp_path)["state"] == "running"
        kept = sum(pq.read_metadata(path).num_rows for path in done)
        code, output, errors = bulk(*arguments, "--resume")
        assert code == 0, errors
        assert done == {path: path.stat().st_mtime_ns for path in done}
        killed, last = record(tmp_path)["runs"]
        assert (killed["images"] <= kept, last["images"]) == (True, 30_000 - kept)
        assert table(output)["this run"] == f"{30_000 - kept} images"
    else:
        killed = [w for w in workers if "spawn_main" in " ".join(w.cmdline())]
        killed[0].kill()
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert rows(tmp_path / "labels") == dict(enumerate(expected_rows(30_000)))
    assert not list((tmp_path / "labels").rglob("*.tmp"))
    assert record(tmp_path)["images"] == 30_000


def test_interrupted(bulk: Bulk, tmp_path: Path) -> None:
    """
    Ctrl-C, which a terminal sends to all processes, ends it within seconds; it can be resumed.
    """
    write_parquet(tmp_path / "photos.parquet", 30_000, row_group_size=10_000)
    process = start_bulk(["tiny", "photos.parquet", "--to", "labels"], tmp_path)
    until(lambda: list((tmp_path / "labels").glob("part-*")))
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.splitlines()[-2:] == [
        "convoy bulk: stopped; continue with --resume",
        "interrupted",
    ]
    assert record(tmp_path)["state"] == "stopped"
    assert bulk("photos.parquet", "--resume")[0] == 0
    assert len(rows(tmp_path / "labels")) == 30_000


def test_too_many_failures(bulk: Bulk, tmp_path: Path) -> None:
    """
    More failures than the limit end the job with code 3 and a message, which the record has, too;
    with a higher limit it goes on.
    """
    write_images(tmp_path / "photos", 200, damaged=20)
    code, _, errors = bulk("photos", "--max-failures", "4.5%")
    assert code == 3
    message = (
        "10 of 200 images failed, more than --max-failures 4.5%; the column error has the reason "
        "of each. Continue with a higher limit and --resume"
    )
    assert errors.splitlines()[-1] == f"convoy bulk: {message}"
    found = record(tmp_path)
    assert (found["state"], found["error"]) == ("too_many_failures", message)
    assert bulk("photos", "--max-failures", "10", "--resume")[0] == 0
    found = record(tmp_path)
    assert (found["state"], found["error"]) == ("finished", "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few pages, mounted at `labels`."""
    folder = tmp_path / "labels"
    folder.mkdir()
    if os.system(f"mount -t tmpfs -o size=64k tmpfs {folder} 2>/dev/null"):
        pytest.skip("needs the right to mount")
    yield folder
    os.system(f"umount -l {folder}")


def test_full_disk(bulk: Bulk, tmp_path: Path, small_disk: Path) -> None:
    """
    A full disk is one line; with room again, the job goes on.
    """
    write_parquet(tmp_path / "photos.parquet", 30_000, row_group_size=10_000)
    code, _, errors = bulk("photos.parquet", "--id", "key")
    assert code == 1
    assert errors.splitlines()[-1].startswith("convoy bulk: cannot write labels/")
    assert errors.splitlines()[-1].endswith("No space left on device")
    assert os.system(f"mount -o remount,size=64m {small_disk}") == 0
    code, _, errors = bulk("photos.parquet", "--id", "key", "--resume")
    assert code == 0, errors
    assert rows(small_disk) == dict(enumerate(expected_rows(30_000)))


def test_last_record_cannot_be_written(bulk: Bulk, tmp_path: Path) -> None:
    """
    A job whose labels are all written succeeds without its last record, and --resume corrects it.
    """
    write_parquet(tmp_path / "photos.parquet", 30_000, row_group_size=10_000)
    process = start_bulk(["tiny", "photos.parquet", "--id", "key", "--to", "labels"], tmp_path)
    path = tmp_path / "labels/_convoy/job.json"
    until(lambda: path.exists() and record(tmp_path)["input"]["shards"])
    begun = path.read_bytes()
    path.unlink()
    path.mkdir()
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors.splitlines()[-1] == (
        "convoy bulk: cannot write labels/_convoy/job.json: Is a directory; the record of this run "
        "is not up to date"
    )
    assert table(output)["images"] == "30000"
    assert rows(tmp_path / "labels") == dict(enumerate(expected_rows(30_000)))
    path.rmdir()
    path.write_bytes(begun)
    assert bulk("photos.parquet", "--id", "key", "--resume")[0] == 0
    assert (record(tmp_path)["state"], record(tmp_path)["images"]) == ("finished", 30_000)


def test_a_folder_that_others_write_to(bulk: Bulk, tmp_path: Path) -> None:
    """
    Images that come after the job began are not in it; those that go or change have a reason.
    """
    write_images(tmp_path / "photos", 600)
    process = start_bulk(["tiny", "photos", "--to", "labels", "--workers", "1"], tmp_path)
    until((tmp_path / "labels/_convoy/job.json").exists)
    until(lambda: record(tmp_path)["input"]["shards"])  # all are listed
    process.kill()
    process.communicate()
    for part in (tmp_path / "labels").glob("part-*"):
        part.unlink()
    (tmp_path / "photos/000000.png").unlink()
    (tmp_path / "photos/000002.png").write_bytes(b"changed")
    (tmp_path / "photos/new.png").write_bytes(b"new")
    assert bulk("photos", "--resume")[0] == 0
    found = rows(tmp_path / "labels")
    assert len(found) == 600
    assert found["photos/000000.png"] == (None, "INPUT_NOT_FOUND")
    assert found["photos/000002.png"] == (None, "INPUT_CHANGED")


def test_a_wrong_name_takes_no_folder(bulk: Bulk, tmp_path: Path) -> None:
    """
    After an error in the input, the corrected command can write to the same folder.
    """
    write_parquet(tmp_path / "photos.parquet", 3)
    for arguments, message in (
        (["photo.parquet"], "there is no photo.parquet"),
        (["photos.parquet", "--column", "photo"], "no column 'photo'"),
    ):
        code, _, errors = bulk(*arguments)
        assert (code, message in errors) == (1, True), errors
    code, _, errors = bulk("photos.parquet")
    assert code == 0, errors
    assert record(tmp_path)["images"] == 3


def test_other_parts_are_never_mixed(bulk: Bulk, tmp_path: Path) -> None:
    """
    Parts without a record, and wrong input, are errors of one line.
    """
    write_parquet(tmp_path / "photos.parquet", 3)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/part-000000.parquet").touch()
    for arguments, message in (
        (["photos.parquet"], "labels has parts of another job; choose another folder"),
        (["photos.parquet", "--max-failures", "many"], "--max-failures: 'many' is not a limit"),
        (["photos.parquet", "--address", "x"], "--address needs --engine dask or --engine ray"),
    ):
        code, output, errors = bulk(*arguments)
        assert code in (1, 2)
        assert (output, len(errors.splitlines())) == ("", 1)
        assert message in errors


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_damaged_parts(bulk: Bulk, tmp_path: Path, form: str) -> None:
    """
    A part that was damaged ends a resumed job with one line, and is made anew once it is removed.
    """
    write_images(tmp_path / "photos", 3)
    code, _, errors = bulk("photos", "--format", form, "--workers", "1")
    assert code == 0, errors
    part = tmp_path / f"labels/part-000000.{form}"
    whole = part.read_bytes()
    again = ("photos", "--format", form, "--workers", "1", "--resume")
    # The end of the first line of many, if it has lines.
    for content in (b"damaged", whole[: whole.find(b"\n") + 1 or 500]):
        part.write_bytes(content)
        code, _, errors = bulk(*again)
        assert (code, "Traceback" in errors) == (1, False)
        assert f"labels/part-000000.{form} is damaged: " in errors.splitlines()[-1]
        assert errors.endswith("; remove it, and continue with --resume\n")
    part.unlink()
    code, output, errors = bulk(*again)
    assert code == 0, errors
    assert table(output)["images"] == "3"


def test_sources_whose_names_are_not_utf8(bulk: Bulk, tmp_path: Path) -> None:
    """
    Labels and record state a readable name, also if the job fails.
    """
    name = os.fsdecode(b"\xff")
    write_images(tmp_path / name, 1)
    code, _, errors = bulk(name, "--workers", "1")
    assert code == 0, errors
    assert list(rows(tmp_path / "labels")) == ["\\xff/000000.png"]
    assert record(tmp_path)["input"]["sources"] == ["\\xff"]
    (tmp_path / "labels").rename(tmp_path / "first")
    (tmp_path / f"{name}.tar").write_bytes(b"?" * 1024)
    code, _, errors = bulk(f"{name}.tar", "--workers", "1")
    assert (code, "Traceback" in errors) == (1, False)
    assert "xff.tar: damaged" in record(tmp_path)["error"]


def test_no_images_in_a_tar_file(bulk: Bulk, tmp_path: Path) -> None:
    """
    A tar file whose members have other suffixes is an error.
    """
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("0.img"))
    code, _, errors = bulk("a.tar", "--workers", "1")
    assert code == 1
    assert errors.splitlines()[-1].startswith("convoy bulk: no images in a.tar; in a tar file, ")
    assert record(tmp_path)["state"] == "failed"


def test_no_rows_in_a_parquet_file(bulk: Bulk, tmp_path: Path) -> None:
    """
    A Parquet file without rows is an error, which says nothing about tar files.
    """
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "a.parquet")
    code, _, errors = bulk("a.parquet", "--workers", "1")
    assert code == 1
    message = "convoy bulk: no images in a.parquet: no Parquet file there has a row"
    assert errors.splitlines()[-1] == message
