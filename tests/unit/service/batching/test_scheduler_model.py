"""The scheduler against a model of it, on a simulated clock, for any sequence of events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from convoy.service.batching.queue import PRIORITIES, BatchPolicy, ModelQueue, Pending
from convoy.service.batching.scheduler import Scheduler
from convoy.service.errors import QueueFullError, ServiceError

CORES = 3

POLICIES = (
    BatchPolicy(max_batch_size=4, max_queue_size=12),
    BatchPolicy(max_batch_size=2, max_queue_size=6, max_queue_delay_s=0.05, cores=2),
    BatchPolicy(max_batch_size=8, max_queue_size=16, cores=3, weight=2.0),
    BatchPolicy(max_batch_size=4, max_queue_size=8, cores=3, ahead_s=0.1),
)


class Reply:
    """A future for an answer; a second answer is an error."""

    def __init__(self) -> None:
        self.left = False
        self.ends: list[object] = []

    def done(self) -> bool:
        return self.left or bool(self.ends)

    def set_result(self, result: object) -> None:
        assert not self.done()
        self.ends.append(result)

    def set_exception(self, error: Exception) -> None:
        assert not self.done()
        self.ends.append(error)


Waiting = Pending[int, Any]
Queue = ModelQueue[int, Any]
Batch = tuple[Queue, Sequence[Waiting], float]


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
        self.scheduler: Scheduler[int, Any] = Scheduler(CORES)
        self.queues = [self.scheduler.open(policy) for policy in POLICIES]
        self.all: list[tuple[Queue, Waiting]] = []
        self.running: list[Batch] = []

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
        pending: Waiting = Pending(size, Reply(), self.now + deadline_s, priority)
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
    def decoded(self, place: tuple[Queue, Waiting | None]) -> None:
        queue, pending = place
        assume(pending is not None)
        assert pending is not None
        assume(pending in queue.admitted and pending not in queue.ready)
        self.scheduler.enqueue(queue, pending, id(pending), self.now)

    @rule(place=decoding)
    def leave(self, place: tuple[Queue, Waiting | None]) -> None:
        queue, pending = place
        assume(pending is not None)
        assert pending is not None
        assert isinstance(pending.reply, Reply)
        pending.reply.left = True
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
        queue, batch, began = self.running.pop(which)
        queue.charge(self.now - began)
        queue.learn(self.now - began, sum(pending.size for pending in batch))
        self.scheduler.release(queue)
        for pending in batch:
            if not pending.reply.done():
                pending.reply.set_result(pending.item)

    def _start(self, ignore_delay: bool) -> bool:
        """Start a batch if one is due, and see that it is one that may start."""
        due_in = self.scheduler.due_in(self.now)
        popped = self.scheduler.pop_batch(self.now, ignore_delay=ignore_delay)
        if popped is None:
            return False
        queue, batch = popped
        assert ignore_delay or due_in == 0
        assert sum(pending.size for pending in batch) <= queue.policy.max_batch_size
        for pending in batch:
            assert not pending.reply.done()
            assert pending.deadline > self.now
            assert pending.item == id(pending)
            assert pending not in queue.admitted
        self.running.append((queue, batch, self.now))
        return True

    @invariant()
    def no_core_runs_twice(self) -> None:
        """No core runs two batches, except one batch that is prepared in advance."""
        policies = [queue.policy for queue, _, _ in self.running]
        ahead = max((policy.cores for policy in policies if policy.ahead_s), default=0)
        assert sum(policy.cores for policy in policies) <= CORES + ahead

    @invariant()
    def nobody_runs_twice(self) -> None:
        running = [id(pending) for _, batch, _ in self.running for pending in batch]
        assert len(running) == len(set(running))

    @invariant()
    def places_add_up(self) -> None:
        for queue in self.queues:
            assert queue.admitted_size == sum(pending.size for pending in queue.admitted)
            assert queue.ready_size == sum(pending.size for pending in queue.ready)
            assert queue.ready.keys() <= queue.admitted
            assert queue.admitted_size <= queue.policy.max_queue_size
            assert not any(pending.reply.done() for pending in queue.admitted)

    def teardown(self) -> None:
        """Nothing hangs: what waits is run as soon as there are cores, and all have one end."""
        for queue, pending in self.all:
            if pending in queue.admitted and pending not in queue.ready:
                self.scheduler.enqueue(queue, pending, id(pending), self.now)
        while self._start(ignore_delay=True) or self.running:
            self.now += 0.01
            self._finish(0)
        assert self.scheduler.empty
        for _, pending in self.all:
            assert isinstance(pending.reply, Reply)
            assert pending.reply.left or len(pending.reply.ends) == 1


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
    scheduler: Scheduler[int, Any] = Scheduler()
    queues = [
        scheduler.open(BatchPolicy(max_batch_size=1, max_queue_size=200, weight=weight))
        for weight in weights
    ]
    for queue in queues:
        for item in range(len(runs_s) + 1):
            pending: Waiting = Pending(1, Reply())
            scheduler.admit(queue, pending, 0.0)
            scheduler.enqueue(queue, pending, item, 0.0)
    for run_s in runs_s:
        popped = scheduler.pop_batch(0.0)
        assert popped is not None
        queue, _ = popped
        queue.charge(run_s)
        scheduler.release(queue)
        ahead = abs(queues[0].device_s - queues[1].device_s)
        assert ahead <= max(runs_s) / min(weights) + 1e-9
