"""The requests of one model that hold a place, and the order in which they are taken.

A `ModelQueue` owns its state: places, order, device time and the latency of its model's runs. The
scheduler calls its methods and never changes its attributes. Time is an argument everywhere.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from convoy.service.call import Request
from convoy.service.errors import QueueFullError, RequestExpiredError

PATIENCE_S = 1.0
"""A deadline later than this many seconds from now is ranked as if it were this early.

Requests with earlier deadlines therefore cannot delay such a request for ever.
"""

LEAST_RETRY_S = 0.01
"""Shortest time that a refused client is asked to wait, in seconds."""

SLACK = 1.25
"""Safety factor on the expected run time in deadline checks.

Under overload every request is taken shortly before its deadline. Offered three times its capacity
for ResNet-18, the server answered 0.84 of its capacity in time without slack, and 0.98 with this
factor (`python -m bench.overload`).
"""

# Weights of the latest run in running averages. A run that was faster than expected counts more
# than a slower one: these averages decide refusals, so one slow run must not refuse many requests.
_NEW_WEIGHT = 0.2
_FASTER_WEIGHT = 0.5
_SLOWER_WEIGHT = 0.1

_RELAXED = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPolicy:
    """
    The rules by which batches of a model are formed. Sizes count images.

    Attributes:
        max_batch_size: Maximum number of images in one batch.
        max_queue_delay_s: Longest time that the oldest request waits for others, in seconds. 0
            runs whatever waits as soon as the device is free.
        max_queue_size: Maximum number of images admitted and not yet running; more are refused.
        cores: Cores of the device that a run takes.
        weight: Share of the device against other models when all have work.
        inline_size: Largest batch that the event loop itself runs, since handing it to a thread
            would cost more. 0 hands over every batch.
        ahead_s: Seconds before the expected end of a run at which the next batch is prefetched; 0
            waits for the end.
    """

    max_batch_size: int
    max_queue_delay_s: float = 0.0
    max_queue_size: int = 1024
    cores: int = 1
    weight: float = 1.0
    inline_size: int = 0
    ahead_s: float = 0.0


class LatencyTable:
    """The expected seconds of a run, by its number of images."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._seconds: dict[int, float] = {}

    def add(self, size: int, seconds: float) -> None:
        """Take a run of *size* images into account."""
        expected = self._seconds.get(size)
        if expected is None:
            insort(self._sizes, size)
            self._seconds[size] = seconds
            return
        weight = _FASTER_WEIGHT if seconds < expected else _SLOWER_WEIGHT
        self._seconds[size] = expected + weight * (seconds - expected)

    def run_s(self, size: int) -> float:
        """
        Return the expected seconds of a run of *size* images; 0 if nothing is known.

        Values between known sizes are interpolated.
        """
        if (known := self._seconds.get(size)) is not None:
            return known
        if not self._sizes:
            return 0.0
        place = bisect_left(self._sizes, size)
        # Larger than any known run: assume the time per image of the largest.
        if place == len(self._sizes):
            largest = self._sizes[-1]
            return self._seconds[largest] * size / largest
        upper = self._sizes[place]
        # Smaller than any known run: assume no less, as a run has costs that do not shrink.
        if place == 0:
            return self._seconds[upper]
        lower = self._sizes[place - 1]
        share = (size - lower) / (upper - lower)
        return self._seconds[lower] + share * (self._seconds[upper] - self._seconds[lower])

    def relax(self) -> None:
        """
        Lower every expected time a little.

        A device that refuses every request measures no run that would correct its expectations.
        """
        for size in self._sizes:
            self._seconds[size] *= _RELAXED


@dataclass(slots=True, eq=False)
class Batch:
    """
    Requests that run together.

    Attributes:
        queue: The queue of their model.
        images: Number of images of all of them.
    """

    queue: ModelQueue
    requests: Sequence[Request]
    images: int


class ModelQueue:
    """
    The requests of one model: by priority, then by deadline, then first in, first out.

    Attributes:
        policy: The rules by which batches are formed.
        admitted: Requests that hold a place: their images are being decoded, or they wait.
        ready: The admitted requests that wait for the device, oldest first.
        admitted_size: Images of `admitted`.
        ready_size: Images of `ready`.
        device_s: Core-seconds used, divided by the model's weight.
        image_s: Time per image of a run, in seconds, averaged over the latest batches.
        latency: The expected time of its runs.
    """

    __slots__ = (
        *("_joined", "_order", "admitted", "admitted_size", "device_s", "image_s", "latency"),
        *("policy", "ready", "ready_size"),
    )

    def __init__(self, policy: BatchPolicy) -> None:
        self.policy = policy
        self.admitted: set[Request] = set()
        self.ready: OrderedDict[Request, None] = OrderedDict()
        self.admitted_size = 0
        self.ready_size = 0
        self.device_s = 0.0
        self.image_s = 0.0
        self.latency = LatencyTable()
        self._order: list[tuple[tuple[int, float, int], Request]] = []
        self._joined = 0

    def check_room(self, images: int) -> None:
        """
        Check that *images* more would not exceed `max_queue_size`.

        Raises:
            QueueFullError: If they would.
        """
        if self.admitted_size + images > self.policy.max_queue_size:
            raise QueueFullError(
                f"the queue is full: {self.admitted_size} images are waiting, of at most "
                f"{self.policy.max_queue_size}",
                retry_after_s=max(LEAST_RETRY_S, self.admitted_size * self.image_s),
            )

    def admit(self, request: Request) -> None:
        """
        Give *request* a place before any work is spent on it.

        Raises:
            QueueFullError: If none is free.
        """
        self.check_room(request.images)
        self.admitted.add(request)
        self.admitted_size += request.images

    def enqueue(self, request: Request, now: float, floor_s: float = 0.0) -> None:
        """
        Let the admitted *request*, which has its item, wait for the device.

        Args:
            floor_s: Minimum device time of a model of which no request waits.
        """
        # An idle model does not save up device time: others would wait until it is used up.
        if not self.ready_size:
            self.device_s = max(self.device_s, floor_s)
        request.enqueued_at = now
        request.order = (request.priority, min(request.deadline, now + PATIENCE_S), self._joined)
        self._joined += 1
        if self._order and request.order < self._order[-1][0]:
            insort(self._order, (request.order, request))
        else:  # the common case: the request that joins last is taken last
            self._order.append((request.order, request))
        self.ready[request] = None
        self.ready_size += request.images

    def remove(self, request: Request) -> None:
        """Free the place of *request*; do nothing if it holds none."""
        if request in self.admitted:
            self.admitted.remove(request)
            self.admitted_size -= request.images
        # It does not wait yet if its client disconnects while its images are decoded.
        if request in self.ready:
            del self.ready[request]
            first = self._order[0][1] is request
            del self._order[0 if first else bisect_left(self._order, (request.order,))]
            self.ready_size -= request.images

    def expire(self, request: Request) -> None:
        """Fail *request* if it still holds a place; a request that is being run may finish."""
        if request in self.admitted:
            self.remove(request)
            request.fail(RequestExpiredError("the deadline passed while the request was queued"))

    def due_at(self) -> float:
        """Return the time at which the next batch may be taken: inf if no request waits."""
        if not self.ready:
            return math.inf
        # A full batch waits for no further requests.
        if self.ready_size >= self.policy.max_batch_size:
            return -math.inf
        return self.oldest_at + self.policy.max_queue_delay_s

    @property
    def oldest_at(self) -> float:
        """The time at which the request that waits longest joined; inf if none waits."""
        return next(iter(self.ready)).enqueued_at if self.ready else math.inf

    @property
    def turn(self) -> tuple[float, float]:
        """The queue's rank among those that are due: the lowest is served first."""
        return self.device_s, self.oldest_at

    def images_ahead_of(self, request: Request, now: float) -> float:
        """Estimate the images that would be taken before *request* if it joined now."""
        if not self._order:
            return 0.0
        order = (request.priority, min(request.deadline, now + PATIENCE_S), self._joined)
        place = bisect_left(self._order, (order,))
        # Assume that all requests have equally many images: counting them would take too long.
        return self.ready_size * place / len(self._order)

    def take(self, start_at: float, limit: int) -> Batch | None:
        """
        Take the next requests that can be answered in time; return None if there are none.

        Args:
            start_at: The time at which their run starts.
            limit: Maximum number of images, unless the first request alone has more.
        """
        requests: list[Request] = []
        images, tightest = 0, math.inf
        while self._order:
            request = self._order[0][1]
            # Its client has disconnected: it takes no place in the batch.
            if request.done:
                self.remove(request)
                continue
            # Even alone it would be late: refuse it now, without spending a run on it.
            if self._is_late(start_at, request.images, request.deadline):
                self.expire(request)
                continue
            larger, tighter = images + request.images, min(tightest, request.deadline)
            # The batch is full, or would end too late for its most urgent request.
            if requests and (larger > limit or self._is_late(start_at, larger, tighter)):
                break
            self.remove(request)
            requests.append(request)
            images, tightest = larger, tighter
        return Batch(self, requests, images) if requests else None

    def charge(self, seconds: float, images: int = 0) -> None:
        """Count the *seconds* of a run, and learn from them if it answered *images*."""
        self.device_s += seconds * self.policy.cores / self.policy.weight
        if images:
            self.learn(seconds, images)

    def rank_as(self, device_s: float) -> None:
        """Set the device time that decides the turn of this queue, in weighted seconds."""
        self.device_s = device_s

    def learn(self, seconds: float, images: int) -> None:
        """Update the expected times with a run of *images* that took *seconds*."""
        self.latency.add(images, seconds)
        weight = _NEW_WEIGHT if self.image_s else 1.0
        self.image_s += weight * (seconds / images - self.image_s)

    def _is_late(self, start_at: float, images: int, deadline: float) -> bool:
        """Return whether a run of *images* is expected to end after *deadline*."""
        if deadline == math.inf:
            return False
        # A run that starts at the deadline is late even while nothing is known about run times.
        return deadline <= start_at or deadline < start_at + SLACK * self.latency.run_s(images)
