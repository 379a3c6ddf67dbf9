"""Which requests leave together, of which model, and when. Decides; never waits, never runs.

Time is an argument and nothing here knows an event loop, so its tests pass in no time. The
asyncio shell around it is `service.batcher`. Not thread-safe: the event loop owns it.

A batch grows only because the device is busy: a free device takes what is there (unless
`max_queue_delay_s` says otherwise). Among models that have work, the one that used the device
least goes first (start-time fair queueing: Goyal, Vin, Cheng, 1997), so that a model under heavy
load delays another one by one batch at most.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar

from service.errors import QueueFullError, RequestExpiredError

In = TypeVar("In")
Out = TypeVar("Out")

PRIORITIES = (1, 2, 3)
"""First, as usual, last."""

DEFAULT_PRIORITY = 2

LEAST_RETRY_S = 0.01
"""Least time that a refused client is told to wait, in seconds."""

_NEW_WEIGHT = 0.2  # of the latest batch in the average time per image


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPolicy:
    """
    When a batch leaves the queue of a model. Sizes count images.

    Attributes:
        max_batch_size: Most images in one batch.
        max_queue_delay_s: Longest time the oldest request waits for company, in seconds. 0
            sends whatever is there as soon as the device is free.
        max_queue_size: Most images admitted and not yet running; more are refused.
        cores: Cores of the device that a run takes.
    """

    max_batch_size: int
    max_queue_delay_s: float = 0.0
    max_queue_size: int = 1024
    cores: int = 1


@dataclass(slots=True, eq=False)
class Pending(Generic[In, Out]):
    """
    One request, from its admission to its answer. Times are seconds on the caller's clock.

    Attributes:
        size: Images in it. They stay together.
        future: Where the answer goes.
        deadline: When the caller stops caring.
        priority: One of `PRIORITIES`: within its model, it goes before those of later ones.
        item: The input of the model, once it is there.
        enqueued_at: When it joined the queue.
    """

    size: int
    future: asyncio.Future[Out]
    deadline: float = math.inf
    priority: int = DEFAULT_PRIORITY
    item: In | None = None
    enqueued_at: float = math.nan


def _no_requests() -> dict[int, OrderedDict[Pending[In, Out], None]]:
    return {priority: OrderedDict() for priority in PRIORITIES}


@dataclass(slots=True, eq=False)
class ModelQueue(Generic[In, Out]):
    """
    The requests of one model: by priority, then first in, first out.

    Attributes:
        admitted: Requests that hold a place: their images are being decoded, or they wait.
        ready: Those of them that wait for the device, by priority, oldest first.
        admitted_size: Images of `admitted`.
        ready_size: Images of `ready`.
        device_s: Core-seconds used, as far as fairness counts them.
        image_s: Time of one image in a run, in seconds, averaged over the latest batches.
    """

    policy: BatchPolicy
    admitted: set[Pending[In, Out]] = field(default_factory=set)
    ready: dict[int, OrderedDict[Pending[In, Out], None]] = field(default_factory=_no_requests)
    admitted_size: int = 0
    ready_size: int = 0
    device_s: float = 0.0
    image_s: float = 0.0

    def check_room(self, size: int) -> None:
        """
        Raise if *size* more images would be too many.

        Raises:
            QueueFullError: If they would exceed `max_queue_size`.
        """
        if self.admitted_size + size > self.policy.max_queue_size:
            raise QueueFullError(
                f"{self.admitted_size} images are waiting already; "
                f"at most {self.policy.max_queue_size} may",
                retry_after_s=max(LEAST_RETRY_S, self.admitted_size * self.image_s),
            )

    def waiting(self) -> Iterator[Pending[In, Out]]:
        """Requests that wait for the device, in the order in which they will leave."""
        return chain.from_iterable(self.ready.values())

    @property
    def oldest_at(self) -> float:
        """When the request that waits longest joined; inf if none waits."""
        firsts = (next(iter(level)) for level in self.ready.values() if level)
        return min((pending.enqueued_at for pending in firsts), default=math.inf)

    def due_at(self) -> float:
        """When the next batch may leave: -inf if it is full, inf if nothing waits."""
        if self.ready_size >= self.policy.max_batch_size:
            return -math.inf
        return self.oldest_at + self.policy.max_queue_delay_s

    def enqueue(self, pending: Pending[In, Out]) -> None:
        """Let *pending* wait for the device."""
        self.ready[pending.priority][pending] = None
        self.ready_size += pending.size

    def remove(self, pending: Pending[In, Out]) -> None:
        """Give back the place of *pending*; nothing happens if it holds none."""
        if pending in self.admitted:
            self.admitted.remove(pending)
            self.admitted_size -= pending.size
        if pending in (level := self.ready[pending.priority]):
            del level[pending]
            self.ready_size -= pending.size

    def expire(self, pending: Pending[In, Out]) -> None:
        """Fail *pending* if it still holds a place; one that is being run may finish."""
        if pending in self.admitted:
            self.remove(pending)
            if not pending.future.done():
                pending.future.set_exception(
                    RequestExpiredError("the deadline passed in the queue")
                )


class Scheduler(Generic[In, Out]):
    """The queues of all models that share one device."""

    def __init__(self) -> None:
        self._queues: list[ModelQueue[In, Out]] = []
        self._device_s = 0.0  # device time of the model that was chosen last

    def open(self, policy: BatchPolicy) -> ModelQueue[In, Out]:
        """Add the queue of one more model."""
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

    def admit(self, queue: ModelQueue[In, Out], pending: Pending[In, Out]) -> None:
        """
        Give *pending* a place before any work is spent on it.

        Raises:
            QueueFullError: If there is none left.
        """
        queue.check_room(pending.size)
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
        pending.enqueued_at = now
        queue.enqueue(pending)

    def due_in(self, now: float) -> float:
        """Seconds until some batch is due: 0 if one is, inf if nothing waits."""
        due_at = min((queue.due_at() for queue in self._queues), default=math.inf)
        return max(0.0, due_at - now)

    def pop_batch(
        self, now: float, free_cores: int = 1, *, ignore_delay: bool = False
    ) -> tuple[ModelQueue[In, Out], Sequence[Pending[In, Out]]] | None:
        """
        Remove and return the next batch and the queue it comes from; None if none is due.

        Also if the model whose turn it is needs more cores than are free: nobody else takes them
        meanwhile, or it would wait for ever. Where the free cores are enough for several runs,
        a batch takes no more than its share of what waits.

        Requests past their deadline fail with `RequestExpiredError` and those whose caller has
        gone are dropped: neither takes a place.

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
            if queue.policy.cores > free_cores:
                return None
            if batch := _take(queue, now, runs=free_cores // queue.policy.cores):
                self._device_s = queue.device_s
                return queue, batch

    def charge(self, queue: ModelQueue[In, Out], seconds: float, size: int) -> None:
        """Count the *seconds* that a batch of *size* images of *queue* ran."""
        queue.device_s += seconds * queue.policy.cores
        weight = _NEW_WEIGHT if queue.image_s else 1.0
        queue.image_s += weight * (seconds / size - queue.image_s)

    def fail_all(self, error: Exception) -> None:
        """Empty every queue, failing every request in it with *error*."""
        for queue in self._queues:
            for pending in list(queue.admitted):
                queue.remove(pending)
                if not pending.future.done():
                    pending.future.set_exception(error)


def _take(queue: ModelQueue[In, Out], now: float, runs: int) -> list[Pending[In, Out]]:
    """Take requests from the front of *queue* as long as the next one fits in one of *runs*."""
    batch: list[Pending[In, Out]] = []
    size = 0
    limit = min(queue.policy.max_batch_size, math.ceil(queue.ready_size / runs))
    while pending := next(queue.waiting(), None):
        wanted = not pending.future.done() and pending.deadline > now
        if wanted and batch and size + pending.size > limit:
            break
        if wanted:
            queue.remove(pending)
            batch.append(pending)
            size += pending.size
        else:
            queue.expire(pending)
    return batch
