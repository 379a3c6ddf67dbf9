"""The record of a job during its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from convoy.commands.bulk.job_record import JobInput, JobModel, JobRecord
from convoy.commands.bulk.label_folder import LabelFolder
from convoy.commands.bulk.record_keeper import RecordKeeper


@pytest.fixture
def record() -> JobRecord:
    """The record of a job that has begun."""
    return JobRecord(
        key="",
        model=JobModel(name="tiny", version=1, sha256=""),
        input=JobInput(sources=["photos"], column="", id=""),
        top_k=1,
        format="parquet",
    )


def test_record_that_cannot_be_written(
    tmp_path: Path, record: JobRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A write that fails ends no job, is reported once, and the next one may succeed.
    """
    keeper = RecordKeeper(record, LabelFolder(str(tmp_path)), period_s=0)
    path = tmp_path / "_convoy" / "job.json"
    path.mkdir(parents=True)
    keeper.keep()
    keeper.keep()
    assert capsys.readouterr().err == (
        f"convoy bulk: cannot write {tmp_path}/_convoy/job.json: Is a directory; the job "
        "continues\n"
    )
    path.rmdir()
    keeper.keep()
    assert JobRecord.model_validate_json(path.read_bytes()) == record


def test_time_between_two_writes(tmp_path: Path, record: JobRecord) -> None:
    """
    A job of many small parts does not write its record after each.
    """
    RecordKeeper(record, LabelFolder(str(tmp_path)), period_s=1e6).keep()
    assert list(tmp_path.iterdir()) == []
