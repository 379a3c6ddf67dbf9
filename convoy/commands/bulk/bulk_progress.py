"""The progress of a job, a bar on a terminal and lines elsewhere, and its final table."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from convoy.commands.bulk.job_record import JobRecord
from convoy.commands.bulk.label_parts import Failures
from convoy.commands.bulk.labelling import Part

LINE_S = 10.0
"""Time between two lines where there is no terminal, in seconds."""


class BulkProgress:
    """
    The counts of a run, and their display.

    Args:
        total: The number of shards.
        workers: Returns the number of workers now.
        show: Shows a text and the share that is done.

    Attributes:
        rows: The rows of all parts so far.
        kept: The rows among them that earlier runs wrote.
    """

    def __init__(
        self, total: int, workers: Callable[[], int], show: Callable[[str, float], None]
    ) -> None:
        self.rows: Failures = Counter()
        self.kept = 0
        self._total = total
        self._workers = workers
        self._show = show
        self._parts = self._kept_parts = 0
        self._started = time.perf_counter()

    def add(self, part: Part | None) -> None:
        """Count a part, or only show the time that has passed."""
        if part is not None:
            self.rows += part.rows
            self._parts += 1
            self._kept_parts += part.is_kept
            self.kept += part.rows.total() * part.is_kept
        self._show(self._text(), self._parts / max(1, self._total))

    @property
    def images_per_s(self) -> float:
        """Images that this run classified, per second since its start."""
        return self.classified / (time.perf_counter() - self._started)

    @property
    def classified(self) -> int:
        """The number of images that this run classified."""
        return self.rows.total() - self.kept

    @property
    def _left(self) -> str:
        """The estimated time until the end, at the pace of the parts that this run wrote."""
        written = self._parts - self._kept_parts
        if not written:
            return "starting"
        seconds = (time.perf_counter() - self._started) / written * (self._total - self._parts)
        return f"{timedelta(seconds=round(seconds))} left"

    def _text(self) -> str:
        failed = {str(reason): n for reason, n in self.rows.most_common() if reason is not None}
        workers = self._workers()
        texts = [
            self._left,
            f"{self.rows.total()} images",
            *([f"{self.kept} of them from earlier runs"] if self.kept else []),
            f"{self.images_per_s:.1f} images/s",
            f"{workers} worker{'s' * (workers != 1)}",
            *(f"{reason} {count}" for reason, count in failed.items()),
        ]
        return ", ".join(texts)


@contextmanager
def display(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Yield the function that shows a text and the share that is done, in `[0, 1]`."""
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        BarColumn(20),
        TextColumn("{task.percentage:.0f} %", table_column=Column(no_wrap=True, min_width=5)),
        # The reasons of failures may need more lines than one.
        TextColumn("{task.description}", markup=False, table_column=Column()),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda text, share: bar.update(task, description=text, completed=share)


class _Lines:
    """Lines in a log, one every few seconds."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def __call__(self, text: str, share: float) -> None:
        now = time.perf_counter()
        if now - self._last < LINE_S:
            return
        self._last = now
        print(f"{share:.0%}, {text}", file=sys.stderr, flush=True)


def print_table(record: JobRecord, progress: BulkProgress, to: str) -> None:
    """Print the counts of a job, and those of this run if there were earlier ones."""
    answered = record.images - record.failed
    rows = [
        ("model", f"{record.model.name} version {record.model.version}"),
        ("labels", to),
        ("images", str(record.images)),
        ("answered", str(answered)),
        *((reason, str(count)) for reason, count in record.failures.items()),
        *([("this run", f"{progress.classified} images")] if len(record.runs) > 1 else []),
        ("images/s", f"{progress.images_per_s:.1f}"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
