"""Writes the record of a job during its run: a run that is killed leaves its counts."""

from __future__ import annotations

import sys
import time

from convoy.artifact.errors import RepositoryError
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.job_record import JobRecord
from convoy.commands.bulk.label_folder import LabelFolder


class RecordKeeper:
    """
    Writes a record every now and then.

    Args:
        period_s: Least time between two writes, in seconds.
    """

    def __init__(self, record: JobRecord, folder: LabelFolder, period_s: float = 10.0) -> None:
        self._record = record
        self._folder = folder
        self._period_s = period_s
        self._written_at = time.monotonic()
        self._has_warned = False

    def keep(self) -> None:
        """Write the record if it is time; the first write that fails is reported on stderr."""
        if time.monotonic() < self._written_at + self._period_s:
            return
        self._written_at = time.monotonic()
        try:
            self._record.write(self._folder)
        # It only informs: the labels, which a resumed job goes on from, are in files of their own.
        except (BulkError, RepositoryError) as error:
            if not self._has_warned:
                print(f"convoy bulk: {error}; the job goes on", file=sys.stderr)
            self._has_warned = True
