"""The record of a job that begins or is continued."""

from __future__ import annotations

from pathlib import Path

import pytest

from convoy.bulk.answers import Model
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.bulk_settings import BulkSettings
from convoy.commands.bulk.job_record import begin
from convoy.commands.bulk.label_folder import LabelFolder


def test_slash_at_the_end_of_a_folder(tmp_path: Path) -> None:
    """
    A folder is the same input with a slash at its end and without one.
    """
    folder, model = LabelFolder(str(tmp_path)), Model("tiny", 1, "0" * 64)

    def start(source: str, **options: bool) -> int:
        given = {"model": "tiny", "sources": [source], "to": str(tmp_path), **options}
        record = begin(folder, BulkSettings.model_validate(given), model, 1)
        record.write(folder)
        return len(record.runs)

    assert start("photos/") == 1
    assert start("photos", resume=True) == 2
    with pytest.raises(BulkError, match=r"labels of another job \(with another SOURCE\)"):
        start("photos2", resume=True)
