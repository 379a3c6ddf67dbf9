"""The progress of a job, a bar on a terminal and lines elsewhere, and its final table."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from convoy.commands.bulk.job_record import JobRecord
from convoy.commands.bulk.label_parts import Failures

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
    """

    def __init__(
        self, total: int, workers: Callable[[], int], show: Callable[[str, float], None]
    ) -> None:
        self.rows: Failures = Counter()
        self._total = total
        self._workers = workers
        self._show = show
        self._parts = 0
        self._started = time.perf_counter()

    def add(self, part: Failures | None) -> None:
        """Count a part, or only show the time that has passed."""
        if part is not None:
            self.rows += part
            self._parts += 1
        self._show(self._text(), self._parts / max(1, self._total))

    @property
    def images_per_s(self) -> float:
        """Images per second since the start."""
        return self.rows.total() / (time.perf_counter() - self._started)

    def _text(self) -> str:
        failed = {str(reason): n for reason, n in self.rows.most_common() if reason is not None}
        workers = self._workers()
        texts = [
            f"{self.rows.total()} images",
            f"{self.images_per_s:.1f} images/s",
            f"{workers} worker{'s' * (workers != 1)}",
            *(f"{reason} {count}" for reason, count in failed.items()),
        ]
        return ", ".join(texts)


@contextmanager
def display() -> Iterator[Callable[[str, float], None]]:
    """Yield the function that shows a text and the share that is done, in `[0, 1]`."""
    console = Console(emoji=False, highlight=False, stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        BarColumn(20),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
        TextColumn("left, {task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda text, share: bar.update(task, description=text, completed=share)


class _Lines:
    """Lines in a log, one every few seconds."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()

    def __call__(self, text: str, share: float) -> None:
        now = time.perf_counter()
        if now - self._last < LINE_S:
            return
        self._last = now
        left = f"{(now - self._started) * (1 - share) / share:.0f} s left" if share else "starting"
        print(f"{share:.0%}, {left}, {text}", file=sys.stderr, flush=True)


def print_table(record: JobRecord, images_per_s: float, to: str) -> None:
    """Print the counts of a job."""
    answered = record.images - record.failed
    rows = [
        ("model", f"{record.model.name} version {record.model.version}"),
        ("labels", to),
        ("images", str(record.images)),
        ("answered", str(answered)),
        *((reason, str(count)) for reason, count in record.failures.items()),
        ("images/s", f"{images_per_s:.1f}"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
