"""Memory, file descriptors and threads of a server under load."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import psutil

INTERVAL_S = 1.0

MOST_GROWTH = 0.05
"""Growth of memory from the second tenth of the time to the last one."""

KNOWN_LEAK_BYTES = 100
"""Leaked by grpcio for each call that was cancelled or expired (grpc/grpc#43360): 65 to 97."""

LEAST_SAMPLES = 100
"""Fewer say nothing of memory: buffers and pools are still growing to their size."""

SPARE = 8
"""File descriptors and threads by which one quiet moment may differ from another."""


class Held(NamedTuple):
    """The resources of a server: resident memory in MB, file descriptors, threads."""

    resident_mb: float
    descriptors: int
    threads: int


@dataclass(slots=True)
class Samples:
    """
    The resources of a server over time.

    Attributes:
        process: Its process, whose children are its fronts.
        quiet: In quiet moments: before the load, and after it.
        loaded: Under load, each second.
    """

    process: psutil.Process
    quiet: list[Held] = field(default_factory=list)
    loaded: list[Held] = field(default_factory=list)

    def processes(self) -> list[psutil.Process]:
        """Return its processes."""
        return [self.process, *self.process.children()]

    def now(self) -> Held:
        """Return the resources of all its processes now."""
        processes = self.processes()
        return Held(
            round(sum(process.memory_info().rss for process in processes) / 1e6, 1),
            sum(process.num_fds() for process in processes),
            sum(process.num_threads() for process in processes),
        )

    async def keep(self) -> None:
        """Take samples until cancelled."""
        while True:
            self.loaded.append(self.now())
            await asyncio.sleep(INTERVAL_S)

    def growth(self) -> float | None:
        """Return the growth of memory from the second tenth to the last, as a share, or None."""
        tenth = len(self.loaded) // 10
        if len(self.loaded) < LEAST_SAMPLES:
            return None
        second = median(held.resident_mb for held in self.loaded[tenth : 2 * tenth])
        last = median(held.resident_mb for held in self.loaded[-tenth:])
        return last / second - 1

    def problems(self, unsure: int = 0) -> list[str]:
        """
        Return the leaks.

        Args:
            unsure: Calls for each of which the transport is known to leak `KNOWN_LEAK_BYTES`.
        """
        found = []
        known = unsure * KNOWN_LEAK_BYTES / 1e6 / self.quiet[0].resident_mb
        if (growth := self.growth()) is not None and growth > MOST_GROWTH + known:
            found.append(f"memory grew by {growth:.1%} from the second tenth to the last")
        before, after = self.quiet[0], self.quiet[-1]
        if after.descriptors > before.descriptors + SPARE:
            found.append(
                f"file descriptors: {before.descriptors} before, {after.descriptors} after"
            )
        if after.threads > before.threads + SPARE:
            found.append(f"threads: {before.threads} before, {after.threads} after")
        return found
