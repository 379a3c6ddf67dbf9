"""Writing of a job's record during a run and at its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from convoy.artifact.errors import RepositoryError
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.job_record import JobRecord, State
from convoy.commands.bulk.label_folder import LabelFolder


class RecordKeeper:
    """
    Writes a record from time to time, so that a run that is killed leaves its counts.

    The record only informs: the labels, from which a resumed job continues, are in files of their
    own. A write that fails is therefore reported on stderr, and the outcome of the job stays.

    Args:
        period_s: Minimum time between two writes during a run, in seconds.
    """

    def __init__(self, record: JobRecord, folder: LabelFolder, period_s: float = 10.0) -> None:
        self._record = record
        self._folder = folder
        self._period_s = period_s
        self._written_at = time.monotonic()
        self._reported: set[str] = set()

    def keep(self) -> None:
        """Write the record if it is time."""
        if time.monotonic() < self._written_at + self._period_s:
            return
        self._written_at = time.monotonic()
        with self.reporting("the job continues"):
            self._record.write(self._folder)

    def end(self, state: State, error: str = "") -> None:
        """Write the record at the end of a run, with the *error* that ended it."""
        self._record.end(state, error)
        with self.reporting("the record of this run is not up to date"):
            self._record.write(self._folder)

    @contextmanager
    def reporting(self, consequence: str) -> Iterator[None]:
        """Report an error in the block on stderr, once for each *consequence*, and continue."""
        try:
            yield
        except (BulkError, RepositoryError, OSError) as error:
            if consequence not in self._reported:
                print(f"convoy bulk: {error}; {consequence}", file=sys.stderr)
            self._reported.add(consequence)
