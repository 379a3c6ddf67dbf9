"""A shadow runs one request at a time, on a device that no request of a client needs."""

from __future__ import annotations

import math

import pytest

from convoy.service.batching.queue import Batch, BatchPolicy, ModelQueue
from convoy.service.batching.scheduler import Scheduler
from convoy.service.call import Request
from convoy.service.errors import RequestExpiredError

POLICY = BatchPolicy(max_batch_size=4, max_queue_size=100)


@pytest.fixture
def scheduler() -> Scheduler:
    """A device of two cores, of which each run takes one."""
    return Scheduler(2)


@pytest.fixture
def serving(scheduler: Scheduler) -> ModelQueue:
    """The queue of a model that serves."""
    return scheduler.open(POLICY)


@pytest.fixture
def shadow(scheduler: Scheduler) -> ModelQueue:
    """The queue of a shadow."""
    queue = scheduler.open(POLICY)
    scheduler.set_shadow(queue, is_shadow=True)
    return queue


def add(
    scheduler: Scheduler, queue: ModelQueue, images: int = 1, *, deadline: float = math.inf
) -> Request:
    """Let a request wait."""
    request = Request(images, deadline=deadline)
    scheduler.admit(queue, request, 0.0)
    scheduler.enqueue(queue, request, 0.0)
    return request


def take(scheduler: Scheduler, now: float = 0.0) -> Batch:
    """Take the next batch."""
    batch = scheduler.next_batch(now)
    assert batch is not None
    return batch


def test_one_request_at_a_time(scheduler: Scheduler, shadow: ModelQueue) -> None:
    """
    Neither a batch of several nor a second run, though a core is free; a large request runs whole.
    """
    first, second = add(scheduler, shadow), add(scheduler, shadow, 3)
    batch = take(scheduler)
    assert batch.requests == [first]
    assert scheduler.next_batch(0.0) is None
    assert scheduler.due_in(0.0) == math.inf
    scheduler.release(batch)
    assert scheduler.due_in(0.0) == 0.0
    batch = take(scheduler)
    assert (batch.requests, batch.images) == ([second], 3)


def test_clients_go_first(scheduler: Scheduler, serving: ModelQueue, shadow: ModelQueue) -> None:
    """
    A shadow waits while a request is decoded, waits, or waits for company; not while it runs.
    """
    waiting = add(scheduler, shadow)
    decoding = Request(1)
    scheduler.admit(serving, decoding, 0.0)
    assert scheduler.next_batch(0.0) is None
    assert scheduler.due_in(0.0) == math.inf
    scheduler.enqueue(serving, decoding, 0.0)
    assert take(scheduler).requests == [decoding]
    batch = take(scheduler)
    assert batch.requests == [waiting]
    scheduler.release(batch)
    add(scheduler, shadow)
    patient = scheduler.open(BatchPolicy(max_batch_size=4, max_queue_delay_s=1.0))
    add(scheduler, patient)
    assert scheduler.next_batch(0.0) is None
    assert scheduler.due_in(0.0) == 1.0


def test_clients_run_beside_it(
    scheduler: Scheduler, serving: ModelQueue, shadow: ModelQueue
) -> None:
    """
    A request that arrives while a shadow runs takes another core.
    """
    add(scheduler, shadow)
    take(scheduler)
    request = add(scheduler, serving)
    assert take(scheduler).requests == [request]


def test_not_prefetched() -> None:
    """
    A GPU prepares no batch of a shadow during a run: a client's may arrive before its end.
    """
    scheduler = Scheduler()
    policy = BatchPolicy(max_batch_size=4, ahead_s=10.0)
    serving, shadow = scheduler.open(policy), scheduler.open(policy)
    scheduler.set_shadow(shadow, is_shadow=True)
    add(scheduler, serving)
    batch = take(scheduler)
    add(scheduler, shadow)
    assert scheduler.next_batch(0.0) is None
    scheduler.release(batch)
    assert take(scheduler).queue is shadow


def test_shadows_take_turns(scheduler: Scheduler, shadow: ModelQueue) -> None:
    """
    The shadow that used the device least is next.
    """
    other = scheduler.open(POLICY)
    scheduler.set_shadow(other, is_shadow=True)
    for queue in (shadow, shadow, other):
        add(scheduler, queue)
    batch = take(scheduler)
    batch.queue.charge(1.0)
    scheduler.release(batch)
    assert (batch.queue, take(scheduler).queue) == (shadow, other)


def test_deadlines(scheduler: Scheduler, serving: ModelQueue, shadow: ModelQueue) -> None:
    """
    A request for a shadow delays no client's deadline, is not refused on arrival, and expires.
    """
    serving.learn(1.0, 1)
    shadow.learn(1.0, 1)
    add(scheduler, serving, deadline=10.0)
    late = add(scheduler, shadow, deadline=1.0)
    # Two runs: one waits, and this one.
    add(scheduler, serving, deadline=2.3)
    scheduler.release(take(scheduler))
    assert scheduler.next_batch(2.0) is None
    assert isinstance(late.error, RequestExpiredError)


def test_promoted(scheduler: Scheduler, shadow: ModelQueue) -> None:
    """
    A shadow that serves has the batches of any model; all queues are emptied at the end.
    """
    add(scheduler, shadow)
    assert not scheduler.empty
    scheduler.set_shadow(shadow, is_shadow=False)
    add(scheduler, shadow)
    scheduler.cores.free = 1
    assert len(take(scheduler).requests) == 2
    scheduler.set_shadow(shadow, is_shadow=True)
    request = add(scheduler, shadow)
    scheduler.fail_all(RuntimeError())
    assert isinstance(request.error, RuntimeError)
    assert scheduler.empty
    scheduler.close(shadow)
    assert scheduler.next_batch(0.0) is None


def test_promoted_beside_a_busy_model(scheduler: Scheduler, shadow: ModelQueue) -> None:
    """
    The device time of its hours as a shadow does not count against a model that serves now.
    """
    busy = scheduler.open(POLICY)
    shadow.charge(3600.0)
    for _ in range(2):
        add(scheduler, busy, 4)
    busy.charge(5.0)
    batch = take(scheduler)
    batch.queue.charge(1.0)
    scheduler.release(batch)
    scheduler.set_shadow(shadow, is_shadow=False)
    add(scheduler, shadow)
    assert take(scheduler).queue is shadow
