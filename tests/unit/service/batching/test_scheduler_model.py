"""The scheduler against a model of it, on a simulated clock, for any sequence of events."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from convoy.service.batching.queue import Batch, BatchPolicy, ModelQueue
from convoy.service.batching.scheduler import Scheduler
from convoy.service.call import PRIORITIES, Request
from convoy.service.errors import QueueFullError, ServiceError
from convoy.service.telemetry.batch_record import BatchTimes

CORES = 3

POLICIES = (
    BatchPolicy(max_batch_size=4, max_queue_size=12),
    BatchPolicy(max_batch_size=2, max_queue_size=6, max_queue_delay_s=0.05, cores=2),
    BatchPolicy(max_batch_size=8, max_queue_size=16, cores=3, weight=2.0),
    BatchPolicy(max_batch_size=4, max_queue_size=8, cores=3, ahead_s=0.1),
)


class Waiting(Request):
    """A request that knows how often it ended, and whether its client left."""

    def __init__(self, size: int, deadline: float = math.inf, priority: int = 2) -> None:
        super().__init__(size, deadline, priority, self._count)
        self.left = False
        self.ends = 0

    def _count(self, _: Request) -> None:
        self.ends += 1


Running = tuple[Batch, float]


class Machine(RuleBasedStateMachine):
    """
    Does to a scheduler what the batcher does, in any order, and knows what must hold.

    Attributes:
        held: Requests that have a place, by their queue.
        running: Batches that run, with the time at which each began.
    """

    decoding = Bundle("decoding")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.scheduler = Scheduler(CORES)
        self.queues = [self.scheduler.open(policy) for policy in POLICIES]
        self.all: list[tuple[ModelQueue, Waiting]] = []
        self.running: list[Running] = []

    @rule(seconds=st.floats(0, 0.3))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for queue, pending in self.all:
            if pending.deadline <= self.now:  # as the batcher's timer does
                queue.expire(pending)

    @rule(
        target=decoding,
        which=st.integers(0, len(POLICIES) - 1),
        size=st.integers(1, 4),
        deadline_s=st.one_of(st.just(math.inf), st.floats(0.001, 1)),
        priority=st.sampled_from(PRIORITIES),
    )
    def admit(self, which: int, size: int, deadline_s: float, priority: int) -> Any:
        queue = self.queues[which]
        assume(size <= queue.policy.max_batch_size)
        pending = Waiting(size, self.now + deadline_s, priority)
        room = queue.policy.max_queue_size - queue.admitted_size
        try:
            self.scheduler.admit(queue, pending, self.now)
        except QueueFullError:
            assert size > room
            return queue, None
        except ServiceError:
            assert deadline_s < math.inf
            return queue, None
        assert size <= room
        self.all.append((queue, pending))
        return queue, pending

    @rule(place=decoding)
    def decoded(self, place: tuple[ModelQueue, Waiting | None]) -> None:
        queue, pending = place
        assume(pending is not None)
        assert pending is not None
        assume(pending in queue.admitted and pending not in queue.ready)
        pending.item = id(pending)
        self.scheduler.enqueue(queue, pending, self.now)

    @rule(place=decoding)
    def leave(self, place: tuple[ModelQueue, Waiting | None]) -> None:
        queue, pending = place
        assume(pending is not None)
        assert pending is not None
        pending.left = True
        pending.withdraw()
        queue.remove(pending)

    @rule(ignore_delay=st.booleans())
    def start(self, ignore_delay: bool) -> None:
        self._start(ignore_delay)

    @rule(which=st.integers(0, 5))
    def finish(self, which: int) -> None:
        assume(self.running)
        self._finish(which % len(self.running))

    def _finish(self, which: int) -> None:
        """Answer a batch that runs, and let its cores go."""
        batch, began = self.running.pop(which)
        batch.queue.charge(self.now - began, batch.images)
        self.scheduler.cores.release(batch.queue.policy)
        for request in batch.requests:
            if not request.done:
                request.answer({}, began, self.now, batch.images, BatchTimes(0.0, 0.0, 0.0))

    def _start(self, ignore_delay: bool) -> bool:
        """Start a batch if one is due, and see that it is one that may start."""
        due_in = self.scheduler.due_in(self.now)
        batch = self.scheduler.next_batch(self.now, ignore_delay=ignore_delay)
        if batch is None:
            return False
        assert ignore_delay or due_in == 0
        assert batch.images == sum(request.images for request in batch.requests)
        assert batch.images <= batch.queue.policy.max_batch_size
        for request in batch.requests:
            assert not request.done
            assert request.deadline > self.now
            assert request.item == id(request)
            assert request not in batch.queue.admitted
        self.running.append((batch, self.now))
        return True

    @invariant()
    def no_core_runs_twice(self) -> None:
        """No core runs two batches, except one batch that is prepared in advance."""
        policies = [batch.queue.policy for batch, _ in self.running]
        ahead = max((policy.cores for policy in policies if policy.ahead_s), default=0)
        assert sum(policy.cores for policy in policies) <= CORES + ahead

    @invariant()
    def nobody_runs_twice(self) -> None:
        running = [id(request) for batch, _ in self.running for request in batch.requests]
        assert len(running) == len(set(running))

    @invariant()
    def places_add_up(self) -> None:
        for queue in self.queues:
            assert queue.admitted_size == sum(pending.images for pending in queue.admitted)
            assert queue.ready_size == sum(pending.images for pending in queue.ready)
            assert queue.ready.keys() <= queue.admitted
            assert queue.admitted_size <= queue.policy.max_queue_size
            assert not any(pending.done for pending in queue.admitted)

    def teardown(self) -> None:
        """Nothing hangs: what waits is run as soon as there are cores, and all have one end."""
        for queue, pending in self.all:
            if pending in queue.admitted and pending not in queue.ready:
                pending.item = id(pending)
                self.scheduler.enqueue(queue, pending, self.now)
        while self._start(ignore_delay=True) or self.running:
            self.now += 0.01
            self._finish(0)
        assert self.scheduler.empty
        for _, pending in self.all:
            assert pending.left or pending.ends == 1


TestScheduler = Machine.TestCase


@given(
    weights=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
    runs_s=st.lists(st.floats(0.001, 1), min_size=1, max_size=60),
)
def test_fair(weights: tuple[float, float], runs_s: list[float]) -> None:
    """
    Two models that always have work get the device by their weights: at no time is one ahead of the
    other by more than one run, however long the runs are.
    """
    scheduler = Scheduler()
    queues = [
        scheduler.open(BatchPolicy(max_batch_size=1, max_queue_size=200, weight=weight))
        for weight in weights
    ]
    for queue in queues:
        for item in range(len(runs_s) + 1):
            pending = Waiting(1)
            scheduler.admit(queue, pending, 0.0)
            pending.item = item
            scheduler.enqueue(queue, pending, 0.0)
    for run_s in runs_s:
        batch = scheduler.next_batch(0.0)
        assert batch is not None
        batch.queue.charge(run_s)
        scheduler.cores.release(batch.queue.policy)
        ahead = abs(queues[0].device_s - queues[1].device_s)
        assert ahead <= max(runs_s) / min(weights) + 1e-9
