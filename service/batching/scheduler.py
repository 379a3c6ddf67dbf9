"""The choice of the next batch: its model, its requests, its time. Decides; never waits or runs.

Time is an argument and nothing here uses an event loop, so tests need not wait. The batcher is the
asyncio shell around it. Not thread-safe: the event loop owns it.

Batches grow only while the device is busy: a free device takes whatever waits (unless
`max_queue_delay_s` delays it). Among models that have work, the one that used the device least goes
first (start-time fair queueing: Goyal, Vin, Cheng, 1997), so that a model under heavy load delays
another model by one batch at most. Within a model the earliest deadline goes first. A request that
cannot be answered in time takes no place: it is refused on arrival, or fails when its turn comes.

Nobody waits for the answers of a shadow. It has its turn only while no request of another model
holds a place, that is, waits for the device or for its images to be decoded. Shadows run one
request at a time, so that a request that arrives meanwhile is delayed by one such run at most.
"""

from __future__ import annotations

import math

from convoy.service.batching.cores import Cores
from convoy.service.batching.queue import LEAST_RETRY_S, SLACK, Batch, BatchPolicy, ModelQueue
from convoy.service.call import Request
from convoy.service.errors import DeadlineUnmeetableError, RequestExpiredError


class Scheduler:
    """
    The queues of all models that share one device.

    Args:
        cores: Cores of the device; each run takes as many as its model's policy says.
    """

    def __init__(self, cores: int = 1) -> None:
        self.cores = Cores(cores)
        self._queues: list[ModelQueue] = []
        self._shadows: list[ModelQueue] = []
        self._shadow_batch: Batch | None = None  # the running batch of a shadow
        self._device_s = 0.0  # device time of the model that was chosen last

    def open(self, policy: BatchPolicy) -> ModelQueue:
        """Add the queue of a model, whose runs take no more cores than the device has."""
        queue = ModelQueue(policy)
        self._queues.append(queue)
        return queue

    def close(self, queue: ModelQueue) -> None:
        """Remove the queue of a model, in which no request holds a place."""
        (self._shadows if queue in self._shadows else self._queues).remove(queue)

    def set_shadow(self, queue: ModelQueue, is_shadow: bool) -> None:
        """Make *queue* the queue of a shadow, or an ordinary one."""
        self.close(queue)
        (self._shadows if is_shadow else self._queues).append(queue)
        # Device time that it used as a shadow, while no other model needed any, does not count.
        if not is_shadow:
            queue.rank_as(self._device_s)

    @property
    def shadow_waits(self) -> bool:
        """True if a request to a shadow waits for the device."""
        return any(queue.ready for queue in self._shadows)

    @property
    def empty(self) -> bool:
        """True if no request holds a place in any queue."""
        return not any(queue.admitted for queue in (*self._queues, *self._shadows))

    def admit(self, queue: ModelQueue, request: Request, now: float) -> None:
        """
        Give *request* a place before any work is spent on it.

        Raises:
            QueueFullError: If none is free.
            DeadlineUnmeetableError: If it cannot be answered in time.
            RequestExpiredError: If its deadline has passed.
        """
        # A full queue is reported first: its client may retry, whatever the deadline. The
        # waiting time of a shadow cannot be predicted.
        if request.deadline < math.inf and queue not in self._shadows:
            queue.check_room(request.images)
            self._check_deadline(queue, request, now)
        queue.admit(request)

    def enqueue(self, queue: ModelQueue, request: Request, now: float) -> None:
        """Let the admitted *request* wait for the device with its item."""
        queue.enqueue(request, now, self._device_s)

    def due_in(self, now: float) -> float:
        """Return the seconds until a batch may be taken: 0 is now, inf when a run ends."""
        if self._next_shadow():
            return 0.0
        soonest = math.inf
        for queue in self._queues:
            if queue.ready:
                starts_at = max(queue.due_at(), self.cores.available_at(queue.policy))
                soonest = min(soonest, starts_at)
        return max(0.0, soonest - now)

    def next_batch(self, now: float, *, ignore_delay: bool = False) -> Batch | None:
        """
        Take the next batch; return None if none may be taken.

        The batch holds its cores until `release`.

        Args:
            ignore_delay: Take requests that might still wait for others, too.
        """
        while queue := self._next_queue(now, ignore_delay):
            start_at = self.cores.start_at(queue.policy, now)
            # The model whose turn it is needs more cores than are free. No other model takes them
            # meanwhile, or this model would wait forever.
            if start_at is None:
                return None
            # Without a batch, every request of the queue was withdrawn or late: try the next queue.
            if batch := queue.take(start_at, self._limit(queue)):
                self._device_s = queue.device_s
                self.cores.take(queue.policy, start_at + queue.latency.run_s(batch.images))
                return batch
        return self._next_shadow_batch(now)

    def release(self, batch: Batch) -> None:
        """Free the cores of a batch whose run has ended."""
        self.cores.release(batch.queue.policy)
        if batch is self._shadow_batch:
            self._shadow_batch = None

    def fail_all(self, error: Exception) -> None:
        """Empty every queue and fail its requests with *error*."""
        for queue in (*self._queues, *self._shadows):
            for request in list(queue.admitted):
                queue.remove(request)
                request.fail(error)

    def _next_queue(self, now: float, ignore_delay: bool) -> ModelQueue | None:
        """Choose the due queue that used the device least; of equals, the longest waiting one."""
        chosen = None
        for queue in self._queues:
            # Empty, or it still waits for a fuller batch.
            if not queue.ready or not (ignore_delay or queue.due_at() <= now):
                continue
            if chosen is None or queue.turn < chosen.turn:
                chosen = queue
        return chosen

    def _next_shadow_batch(self, now: float) -> Batch | None:
        """Take one request of a shadow; return None if the device has no time for it."""
        while queue := self._next_shadow():
            if batch := queue.take(now, 1):
                self.cores.take(queue.policy, now + queue.latency.run_s(batch.images))
                self._shadow_batch = batch
                return batch
        return None

    def _next_shadow(self) -> ModelQueue | None:
        """Return the shadow that used the device least; None if the device has no time for one."""
        # This runs once or twice per request, and most servers have no shadow.
        if not self._shadows:
            return None
        waiting = [queue for queue in self._shadows if queue.ready]
        # Only one shadow runs at a time, and only while no other request holds a place.
        if not waiting or self._shadow_batch or any(queue.admitted for queue in self._queues):
            return None
        chosen = min(waiting, key=lambda queue: queue.turn)
        # Do not prefetch it: it would run before a request that arrives meanwhile.
        return chosen if self.cores.available_at(chosen.policy) == -math.inf else None

    def _limit(self, queue: ModelQueue) -> int:
        """Return the most images in the next batch of *queue*."""
        policy, waiting = queue.policy, queue.ready_size
        # The event loop itself can run them: spreading them would cost more than it saves.
        if waiting <= policy.inline_size:
            return min(policy.max_batch_size, waiting)
        # Several runs may start now: spread the images over them.
        runs = max(1, self.cores.free // policy.cores)
        return min(policy.max_batch_size, math.ceil(waiting / runs))

    def _check_deadline(self, queue: ModelQueue, request: Request, now: float) -> None:
        # The deadline has passed: the client no longer waits.
        if request.deadline <= now:
            raise RequestExpiredError("the deadline passed before the request arrived")
        run_s = SLACK * queue.latency.run_s(request.images)
        late_s = now + self._wait_s(queue, request, now) + run_s - request.deadline
        # It can be answered in time.
        if late_s <= 0:
            return
        # An idle device refuses: its expected times may be too high, and no run would correct them.
        if self.cores.idle and not queue.ready_size:
            queue.latency.relax()
        raise DeadlineUnmeetableError(
            f"the answer would come {1000 * late_s:.0f} ms after the deadline",
            retry_after_s=max(LEAST_RETRY_S, late_s),
        )

    def _wait_s(self, queue: ModelQueue, request: Request, now: float) -> float:
        """Estimate the seconds that *request* would wait for the device if it joined now."""
        busy_s = self.cores.busy_s(queue.policy, now)
        images = queue.images_ahead_of(request, now)
        if not images:
            return busy_s
        # Models that have work, this one included, share the device by their weights.
        weights = sum(other.policy.weight for other in self._queues if other.ready_size)
        share = queue.policy.weight / weights
        return busy_s + images * queue.image_s / (self.cores.count // queue.policy.cores) / share
