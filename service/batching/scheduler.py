"""Which requests leave together, of which model, and when. Decides; never waits, never runs.

Time is an argument and nothing here knows an event loop, so its tests pass in no time. The
asyncio shell around it is the batcher. Not thread-safe: the event loop owns it.

A batch grows only because the device is busy: a free device takes what is there (unless
`max_queue_delay_s` says otherwise). Among models that have work, the one that used the device
least goes first (start-time fair queueing: Goyal, Vin, Cheng, 1997), so that a model under heavy
load delays another one by one batch at most. Within a model the earliest deadline goes first, and
what cannot be answered in time takes no place: it is refused when it comes, or dropped when its
turn would be too late.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

from convoy.service.batching.queue import LEAST_RETRY_S, BatchPolicy, ModelQueue, Pending
from convoy.service.errors import DeadlineUnmeetableError, RequestExpiredError

In = TypeVar("In")
Out = TypeVar("Out")


SLACK = 1.25
"""So many times what a run is expected to take it may take, where a deadline depends on it.

Under overload all that leaves the queue is at the edge of its deadline. Offered three times what it
can do of ResNet-18, the server answered 0.84 of its capacity in time without any slack, and 0.98
with this (`bench/race/overload.py`).
"""


class Scheduler(Generic[In, Out]):
    """
    The queues of all models that share one device.

    Args:
        cores: Cores of the device; each run takes as many as its model's policy says.
    """

    def __init__(self, cores: int = 1) -> None:
        self._cores = cores
        self._free_cores = cores
        self._queues: list[ModelQueue[In, Out]] = []
        self._device_s = 0.0  # device time of the model that was chosen last
        self._free_at = -math.inf  # when the run that started last is expected to end

    def open(self, policy: BatchPolicy) -> ModelQueue[In, Out]:
        """Add the queue of one more model, whose runs take no more cores than there are."""
        queue: ModelQueue[In, Out] = ModelQueue(policy)
        self._queues.append(queue)
        return queue

    def close(self, queue: ModelQueue[In, Out]) -> None:
        """Remove the queue of a model; no request holds a place in it any more."""
        self._queues.remove(queue)

    @property
    def empty(self) -> bool:
        """Whether no request holds a place in any queue."""
        return not any(queue.admitted for queue in self._queues)

    @property
    def idle(self) -> bool:
        """Whether no request waits for the device."""
        return not any(queue.ready for queue in self._queues)

    def admit(self, queue: ModelQueue[In, Out], pending: Pending[In, Out], now: float) -> None:
        """
        Give *pending* a place before any work is spent on it.

        Raises:
            QueueFullError: If there is none left.
            DeadlineUnmeetableError: If it cannot be answered in time.
            RequestExpiredError: If its deadline has passed.
        """
        queue.check_room(pending.size)
        if pending.deadline < math.inf:
            self._check_deadline(queue, pending, now)
        queue.admitted.add(pending)
        queue.admitted_size += pending.size

    def enqueue(
        self, queue: ModelQueue[In, Out], pending: Pending[In, Out], item: In, now: float
    ) -> None:
        """Let the admitted *pending* wait for the device with its *item*."""
        if not queue.ready_size:
            # A model that was idle does not save up device time.
            queue.device_s = max(queue.device_s, self._device_s)
        pending.item = item
        queue.enqueue(pending, now)

    def due_in(self, now: float) -> float:
        """Seconds until a batch may start: 0 if one may, inf if none before the end of a run."""
        starts_at = (max(queue.due_at(), self._cores_at(queue)) for queue in self._queues)
        return max(0.0, min(starts_at, default=math.inf) - now)

    def pop_batch(
        self, now: float, *, ignore_delay: bool = False
    ) -> tuple[ModelQueue[In, Out], Sequence[Pending[In, Out]]] | None:
        """
        Remove and return the next batch and the queue it comes from; None if none may start.

        The batch holds its cores until `release`. If the model whose turn it is needs more than
        are free, nobody else takes them meanwhile, or it would wait for ever. Where batches are
        made ready ahead, one may hold cores that another one still has.

        Requests that cannot be answered in time fail with `RequestExpiredError` and those whose
        caller has gone are dropped: neither takes a place.

        Args:
            ignore_delay: Take what waits even where it might still wait for company.
        """
        while True:
            due = [
                queue
                for queue in self._queues
                if queue.ready_size and (ignore_delay or queue.due_at() <= now)
            ]
            if not due:
                return None
            queue = min(due, key=lambda q: (q.device_s, q.oldest_at))
            if self._cores_at(queue) > now:
                return None
            runs = max(1, self._free_cores // queue.policy.cores)
            ahead = queue.policy.cores > self._free_cores
            starts_at = max(now, self._free_at) if ahead else now
            if batch := _take(queue, starts_at, self._limit(queue, runs)):
                self._device_s = queue.device_s
                self._free_cores -= queue.policy.cores
                size = sum(pending.size for pending in batch)
                self._free_at = starts_at + queue.latency.run_s(size)
                return queue, batch

    def release(self, queue: ModelQueue[In, Out]) -> None:
        """Free the cores of a batch of *queue*."""
        self._free_cores += queue.policy.cores

    def fail_all(self, error: Exception) -> None:
        """Empty every queue, failing every request in it with *error*."""
        for queue in self._queues:
            for pending in list(queue.admitted):
                queue.remove(pending)
                if not pending.reply.done():
                    pending.reply.set_exception(error)

    def _limit(self, queue: ModelQueue[In, Out], runs: int) -> int:
        """
        Most images in the next batch of *queue*, where as many as *runs* may start now.

        Its share of what waits; or all of it, if that is little enough for the event loop.
        """
        inline = queue.ready_size <= queue.policy.inline_size
        share = queue.ready_size if inline else math.ceil(queue.ready_size / runs)
        return min(queue.policy.max_batch_size, share)

    def _cores_at(self, queue: ModelQueue[In, Out]) -> float:
        """When a batch of *queue* may have cores: -inf is now, inf when a run ends."""
        if queue.policy.cores <= self._free_cores:
            return -math.inf
        if queue.policy.ahead_s and self._free_cores >= 0:
            return self._free_at - queue.policy.ahead_s
        return math.inf

    def _check_deadline(
        self, queue: ModelQueue[In, Out], pending: Pending[In, Out], now: float
    ) -> None:
        if pending.deadline <= now:
            raise RequestExpiredError("the deadline passed before the request came")
        run_s = SLACK * queue.latency.run_s(pending.size)
        late_s = now + self._wait_s(queue, pending, now) + run_s - pending.deadline
        if late_s <= 0:
            return
        if self._free_cores == self._cores and not queue.ready_size:
            queue.latency.relax()
        raise DeadlineUnmeetableError(
            f"the answer would come {1000 * late_s:.0f} ms after the deadline",
            retry_after_s=max(LEAST_RETRY_S, late_s),
        )

    def _wait_s(self, queue: ModelQueue[In, Out], pending: Pending[In, Out], now: float) -> float:
        """About how long *pending* would wait for the device if it joined *queue* now."""
        busy_s = 0.0
        if queue.policy.cores > self._free_cores:
            busy_s = max(0.0, self._free_at - now)
        ahead = queue.ahead_of(pending.deadline, pending.priority, now)
        if not ahead:
            return busy_s
        # Models that have work take turns, by their weights.
        weights = sum(other.policy.weight for other in self._queues if other.ready_size)
        share = queue.policy.weight / weights
        return busy_s + ahead * queue.image_s / (self._cores // queue.policy.cores) / share


def _take(queue: ModelQueue[In, Out], starts_at: float, limit: int) -> list[Pending[In, Out]]:
    """
    Take requests from the front of *queue*, as many as can be answered in time.

    A batch holds no more than *limit* images, unless its first request alone does, and no more than
    let the most urgent of its requests be answered before its deadline.
    """
    batch: list[Pending[In, Out]] = []
    size, tightest = 0, math.inf
    while pending := queue.first():
        if pending.reply.done():
            queue.remove(pending)
            continue
        if _is_late(queue, starts_at, pending.size, pending.deadline):
            queue.expire(pending)
            continue
        larger, tighter = size + pending.size, min(tightest, pending.deadline)
        if batch and (larger > limit or _is_late(queue, starts_at, larger, tighter)):
            break
        queue.remove(pending)
        batch.append(pending)
        size, tightest = larger, tighter
    return batch


def _is_late(queue: ModelQueue[In, Out], starts_at: float, size: int, deadline: float) -> bool:
    """Whether a run of *size* images could not be counted on to end by *deadline*."""
    if deadline == math.inf:
        return False
    return deadline <= starts_at or deadline < starts_at + SLACK * queue.latency.run_s(size)
