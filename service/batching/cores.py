"""The cores of one device: which are free, and which batch is prefetched while they are busy.

On a GPU a run takes all cores. The next batch is taken shortly before the current run should end
(`BatchPolicy.ahead_s`) and prepared meanwhile, so that the GPU does not wait for the host. At most
one batch is prefetched, and the cores that it needs are reserved for it.
"""

from __future__ import annotations

import math

from convoy.service.batching.queue import BatchPolicy


class Cores:
    """
    The cores of one device.

    Attributes:
        count: Number of cores.
        free: Cores that no run uses and that are not reserved for the prefetched batch.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.free = count
        self._prefetched = 0  # cores that the prefetched batch needs; 0 if there is none
        self._ends_at = -math.inf  # when the batch that was taken last is expected to end
        self._ended_at = -math.inf  # when the last run of a model that prefetches ended

    @property
    def idle(self) -> bool:
        """True if no batch runs."""
        return self.free == self.count

    def available_at(self, policy: BatchPolicy) -> float:
        """Return the time at which a batch may be taken: -inf is now, inf when a run ends."""
        # A prefetched batch waits for cores: none may overtake it.
        if self._prefetched:
            return math.inf
        # Enough cores are free.
        if policy.cores <= self.free:
            return -math.inf
        # The cores are in use: a batch may be prefetched if the device allows it.
        return self._ends_at - policy.ahead_s if policy.ahead_s else math.inf

    def start_at(self, policy: BatchPolicy, now: float) -> float | None:
        """Return the time at which a batch that is taken *now* would run; None if none may be."""
        if policy.cores <= self.free and not self._prefetched:
            return now
        # A prefetched batch runs when the current run ends; the estimate may have passed already.
        return max(now, self._ends_at) if self.available_at(policy) <= now else None

    def busy_s(self, policy: BatchPolicy, now: float) -> float:
        """Return the seconds until a run of *policy* may start."""
        if policy.cores <= self.free and not self._prefetched:
            return 0.0
        return max(0.0, self._ends_at - now)

    def take(self, policy: BatchPolicy, ends_at: float) -> None:
        """Give cores to a batch that is expected to end at *ends_at*, or reserve them for it."""
        self._ends_at = ends_at
        if policy.cores <= self.free:
            self.free -= policy.cores
        else:  # it is prefetched
            self._prefetched = policy.cores

    def release(self, policy: BatchPolicy) -> None:
        """Free the cores of a batch; the prefetched batch takes them if they suffice."""
        self.free += policy.cores
        if self._prefetched and self._prefetched <= self.free:
            self.free -= self._prefetched
            self._prefetched = 0

    def start_of(self, policy: BatchPolicy, started: float, ended: float) -> float:
        """Return the time from which a run that was handed over at *started* had the device."""
        if not policy.ahead_s:
            return started
        # A prefetched batch was handed over early: it began at the end of the run before it.
        started, self._ended_at = max(started, self._ended_at), ended
        return started
