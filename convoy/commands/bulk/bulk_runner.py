"""The loop that hands shards to an engine, and finds the images that end its workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.engines import Engine
from convoy.commands.bulk.labelling import Labelling, Part
from convoy.commands.bulk.shards import Shard

MAX_CRASHES = 10
"""Images of one shard that may end a worker. With more, it is not the images' fault."""

REFRESH_S = 0.5
"""Longest time between two updates of the progress, in seconds."""


class _Work(NamedTuple):
    number: int
    shard: Shard
    isolated: bool = False


class Runner:
    """
    Runs the shards of a job.

    Args:
        done: Called in this thread with the counts of each part, and often with none.
    """

    def __init__(
        self, engine: Engine, labelling: Labelling, done: Callable[[Part | None], None]
    ) -> None:
        self._engine = engine
        self._labelling = labelling
        self._done = done
        self._running: dict[Future[Part], _Work] = {}
        self._isolating = ThreadPoolExecutor(1, thread_name_prefix="isolate")

    def run(self, shards: Iterable[tuple[int, Shard]]) -> None:
        """
        Label *shards*, with a bounded number in flight.

        Raises:
            BulkError: If a shard cannot be read, its part not be written, or if workers end and no
                image is the cause.
        """
        for number, shard in shards:
            while len(self._running) >= self._engine.slots:
                self._collect()
            self._submit(_Work(number, shard))
        while self._running:
            self._collect()

    def _submit(self, work: _Work) -> None:
        self._running[self._engine.submit(self._labelling.label, *work[:2])] = work

    def _collect(self) -> None:
        done, _ = wait(self._running, REFRESH_S, FIRST_COMPLETED)
        for future in done:
            work = self._running.pop(future)
            try:
                self._done(future.result())
            except self._engine.crashes:
                # Somebody may have killed the worker: try the shard again before suspecting it.
                retry = self._isolating.submit(self._isolate, work)
                self._running[retry] = work._replace(isolated=True)
        self._done(None)

    def _isolate(self, work: _Work) -> Part:
        """Label a shard that ended its worker; without the images that end workers, if need be."""
        number, shard, _ = work
        try:
            return self._engine.submit(self._labelling.label, number, shard).result()
        except self._engine.crashes:
            crashing = self._find_crashing(shard, number)
        try:
            return self._engine.submit(
                self._labelling.label, number, shard, frozenset(crashing)
            ).result()
        except self._engine.crashes as error:
            raise _no_culprit(number) from error

    def _find_crashing(self, shard: Shard, number: int) -> list[int]:
        count = sum(1 for _ in shard.rows()) if shard.images is None else shard.images
        crashing: list[int] = []
        ranges = [(0, count)]
        while ranges:
            start, stop = ranges.pop()
            try:
                self._engine.submit(self._labelling.probe, shard, start, stop).result()
            except self._engine.crashes:
                if stop - start > 1:
                    middle = (start + stop) // 2
                    ranges += [(middle, stop), (start, middle)]
                    continue
                crashing.append(start)
                if len(crashing) > MAX_CRASHES:
                    raise _no_culprit(number) from None
        return crashing


def _no_culprit(number: int) -> BulkError:
    return BulkError(
        f"a worker ended repeatedly at part {number}, whatever the image; look for the cause "
        "in the system's log, such as a lack of memory, and continue with --resume"
    )
