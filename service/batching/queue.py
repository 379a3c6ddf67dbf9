"""The requests of one model that hold a place, and the order in which they leave."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from convoy.service.batching.latency import LatencyTable
from convoy.service.errors import QueueFullError, RequestExpiredError

In = TypeVar("In")
Out = TypeVar("Out")
Result = TypeVar("Result", contravariant=True)

PRIORITIES = (1, 2, 3)
"""First, as usual, last."""

DEFAULT_PRIORITY = 2

PATIENCE_S = 1.0
"""A request that may wait longer, or for ever, is as urgent as if it were due after so many
seconds: more urgent ones do not keep it waiting without end."""

LEAST_RETRY_S = 0.01
"""Least time that a refused client is told to wait, in seconds."""

_NEW_WEIGHT = 0.2  # of the latest batch in the average time per image

_Key = tuple[int, float, int]


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
        weight: Share of the device against other models' when all have work.
        inline_size: Batches of up to so many images are run by the event loop itself: to hand them
            to a thread would cost more. 0 hands over every batch.
        ahead_s: How long before the run that is on should end the next batch is taken, to be
            made ready meanwhile, in seconds; 0 waits for the end.
    """

    max_batch_size: int
    max_queue_delay_s: float = 0.0
    max_queue_size: int = 1024
    cores: int = 1
    weight: float = 1.0
    inline_size: int = 0
    ahead_s: float = 0.0


class Reply(Protocol[Result]):
    """Where the answer to a request goes: a future, or what does as one does."""

    def done(self) -> bool:
        """Whether nobody waits for an answer any more."""

    def set_result(self, result: Result, /) -> None:
        """Answer; called once at most, and not after `set_exception`."""

    def set_exception(self, error: Exception, /) -> None:
        """Tell why there is no answer; called once at most, and not after `set_result`."""


@dataclass(slots=True, eq=False)
class Pending(Generic[In, Out]):
    """
    One request, from its admission to its answer. Times are seconds on the caller's clock.

    Attributes:
        size: Images in it. They stay together.
        reply: Where the answer goes.
        deadline: When the caller stops caring.
        priority: One of `PRIORITIES`: within its model, it goes before those of later ones.
        item: The input of the model, once it is there.
        enqueued_at: When it joined the queue.
        key: Its place in the queue: those with lesser ones go before it.
    """

    size: int
    reply: Reply[Out]
    deadline: float = math.inf
    priority: int = DEFAULT_PRIORITY
    item: In | None = None
    enqueued_at: float = math.nan
    key: _Key = (0, 0.0, 0)


@dataclass(slots=True, eq=False)
class ModelQueue(Generic[In, Out]):
    """
    The requests of one model: by priority, then by deadline, then first in, first out.

    Attributes:
        admitted: Requests that hold a place: their images are being decoded, or they wait.
        ready: Those of them that wait for the device, oldest first.
        admitted_size: Images of `admitted`.
        ready_size: Images of `ready`.
        device_s: Core-seconds used by its weight, as far as fairness counts them.
        image_s: Time of one image in a run, in seconds, averaged over the latest batches.
        latency: How long its runs take.
    """

    policy: BatchPolicy
    admitted: set[Pending[In, Out]] = field(default_factory=set)
    ready: OrderedDict[Pending[In, Out], None] = field(default_factory=OrderedDict)
    admitted_size: int = 0
    ready_size: int = 0
    device_s: float = 0.0
    image_s: float = 0.0
    latency: LatencyTable = field(default_factory=LatencyTable)
    _order: list[tuple[_Key, Pending[In, Out]]] = field(default_factory=list)
    _joined: int = 0

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

    @property
    def oldest_at(self) -> float:
        """When the request that waits longest joined; inf if none waits."""
        return next(iter(self.ready)).enqueued_at if self.ready else math.inf

    def due_at(self) -> float:
        """When the next batch may leave: -inf if it is full, inf if nothing waits."""
        if self.ready_size >= self.policy.max_batch_size:
            return -math.inf
        return self.oldest_at + self.policy.max_queue_delay_s

    def ahead_of(self, deadline: float, priority: int, now: float) -> float:
        """Images, about, that leave before a request that joins now."""
        if not self._order:
            return 0.0
        place = bisect_left(self._order, (self._key(deadline, priority, now),))
        return self.ready_size * place / len(self._order)

    def enqueue(self, pending: Pending[In, Out], now: float) -> None:
        """Let *pending* wait for the device."""
        pending.enqueued_at = now
        pending.key = self._key(pending.deadline, pending.priority, now)
        self._joined += 1
        if self._order and pending.key < self._order[-1][0]:
            insort(self._order, (pending.key, pending))
        else:  # mostly: the last to come is the last to leave
            self._order.append((pending.key, pending))
        self.ready[pending] = None
        self.ready_size += pending.size

    def first(self) -> Pending[In, Out] | None:
        """The request that leaves next."""
        return self._order[0][1] if self._order else None

    def remove(self, pending: Pending[In, Out]) -> None:
        """Give back the place of *pending*; nothing happens if it holds none."""
        if pending in self.admitted:
            self.admitted.remove(pending)
            self.admitted_size -= pending.size
        if pending in self.ready:
            del self.ready[pending]
            first = self._order[0][1] is pending
            del self._order[0 if first else bisect_left(self._order, (pending.key,))]
            self.ready_size -= pending.size

    def expire(self, pending: Pending[In, Out]) -> None:
        """Fail *pending* if it still holds a place; one that is being run may finish."""
        if pending in self.admitted:
            self.remove(pending)
            if not pending.reply.done():
                pending.reply.set_exception(RequestExpiredError("the deadline passed in the queue"))

    def charge(self, seconds: float) -> None:
        """Count the *seconds* that a batch ran."""
        self.device_s += seconds * self.policy.cores / self.policy.weight

    def learn(self, seconds: float, size: int) -> None:
        """Expect of the next runs what the last one of *size* images took."""
        self.latency.add(size, seconds)
        weight = _NEW_WEIGHT if self.image_s else 1.0
        self.image_s += weight * (seconds / size - self.image_s)

    def _key(self, deadline: float, priority: int, now: float) -> _Key:
        return priority, min(deadline, now + PATIENCE_S), self._joined
