"""The choice of the next batch: which model, which requests, when. Decides; never waits or runs.

Time is an argument and nothing here knows an event loop, so its tests pass in no time. The
asyncio shell around it is the batcher. Not thread-safe: the event loop owns it.

A batch grows only because the device is busy: a free device takes what is there (unless
`max_queue_delay_s` says otherwise). Among models that have work, the one that used the device
least goes first (start-time fair queueing: Goyal, Vin, Cheng, 1997), so that a model under heavy
load delays another one by one batch at most. Within a model the earliest deadline goes first.
A request that cannot be answered in time takes no place: it is refused when it arrives, or fails
when its turn would be too late.
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
        self._device_s = 0.0  # device time of the model that was chosen last

    def open(self, policy: BatchPolicy) -> ModelQueue:
        """Add the queue of one more model, whose runs take no more cores than there are."""
        queue = ModelQueue(policy)
        self._queues.append(queue)
        return queue

    def close(self, queue: ModelQueue) -> None:
        """Remove the queue of a model; no request holds a place in it any more."""
        self._queues.remove(queue)

    @property
    def empty(self) -> bool:
        """True if no request holds a place in any queue."""
        return not any(queue.admitted for queue in self._queues)

    def admit(self, queue: ModelQueue, request: Request, now: float) -> None:
        """
        Give *request* a place before any work is spent on it.

        Raises:
            QueueFullError: If there is none left.
            DeadlineUnmeetableError: If it cannot be answered in time.
            RequestExpiredError: If its deadline has passed.
        """
        if request.deadline < math.inf:
            queue.check_room(request.images)
            self._check_deadline(queue, request, now)
        queue.admit(request)

    def enqueue(self, queue: ModelQueue, request: Request, now: float) -> None:
        """Let the admitted *request* wait for the device with its item."""
        queue.enqueue(request, now, self._device_s)

    def due_in(self, now: float) -> float:
        """Return the seconds until a batch may start: 0 is now, inf when a run ends."""
        soonest = math.inf
        for queue in self._queues:
            if queue.ready:
                starts_at = max(queue.due_at(), self.cores.available_at(queue.policy))
                soonest = min(soonest, starts_at)
        return max(0.0, soonest - now)

    def next_batch(self, now: float, *, ignore_delay: bool = False) -> Batch | None:
        """
        Take the next batch; None if none may start.

        The batch holds its cores until `release`.

        Args:
            ignore_delay: Take what waits even where it might still wait for other requests.
        """
        while queue := self._next_queue(now, ignore_delay):
            start_at = self.cores.start_at(queue.policy, now)
            # The model whose turn it is needs more cores than are free. Nobody else takes them
            # meanwhile, or it would wait for ever.
            if start_at is None:
                return None
            # Without a batch, every request of the queue had left or was late: try the next queue.
            if batch := queue.take(start_at, self._limit(queue)):
                self._device_s = queue.device_s
                self.cores.take(queue.policy, start_at + queue.latency.run_s(batch.images))
                return batch
        return None

    def fail_all(self, error: Exception) -> None:
        """Empty every queue, failing every request in it with *error*."""
        for queue in self._queues:
            for request in list(queue.admitted):
                queue.remove(request)
                request.fail(error)

    def _next_queue(self, now: float, ignore_delay: bool) -> ModelQueue | None:
        """Choose the queue that is due and used the device least, by its weight."""
        chosen = None
        for queue in self._queues:
            if not queue.ready or not (ignore_delay or queue.due_at() <= now):
                continue
            # Equal shares: the model whose request waits longest.
            if chosen is None or (queue.device_s, queue.oldest_at) < (
                chosen.device_s,
                chosen.oldest_at,
            ):
                chosen = queue
        return chosen

    def _limit(self, queue: ModelQueue) -> int:
        """Return the most images in the next batch of *queue*."""
        policy, waiting = queue.policy, queue.ready_size
        # Little enough for the event loop: sharing it out would cost more than it saves.
        if waiting <= policy.inline_size:
            return min(policy.max_batch_size, waiting)
        # Several runs may start now: each gets its share of the images that wait.
        runs = max(1, self.cores.free // policy.cores)
        return min(policy.max_batch_size, math.ceil(waiting / runs))

    def _check_deadline(self, queue: ModelQueue, request: Request, now: float) -> None:
        # The deadline is over: the client does not wait any more.
        if request.deadline <= now:
            raise RequestExpiredError("the deadline passed before the request came")
        run_s = SLACK * queue.latency.run_s(request.images)
        late_s = now + self._wait_s(queue, request, now) + run_s - request.deadline
        # It can be answered in time.
        if late_s <= 0:
            return
        # An idle device refuses: its expectations may be too high, and no run would correct them.
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
        # Models that have work take turns, by their weights.
        weights = sum(other.policy.weight for other in self._queues if other.ready_size)
        share = queue.policy.weight / weights
        return busy_s + images * queue.image_s / (self.cores.count // queue.policy.cores) / share
