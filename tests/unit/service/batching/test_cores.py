"""Batches that are taken, and made ready, while another one runs."""

import asyncio
import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from convoy.service.batching.batcher import Batcher
from convoy.service.batching.queue import BatchPolicy
from convoy.service.batching.scheduler import Scheduler
from convoy.service.call import Request
from convoy.service.errors import RequestExpiredError
from convoy.service.telemetry.batch_record import BatchTimes, Outputs

AHEAD = BatchPolicy(max_batch_size=4, ahead_s=0.25)


class Waiting:
    """A scheduler with one model whose runs take a second."""

    def __init__(self, policy: BatchPolicy = AHEAD) -> None:
        self.scheduler = Scheduler()
        self.queue = self.scheduler.open(policy)
        self.queue.learn(1.0, 1)

    def add(self, item: int, at: float, deadline: float = math.inf) -> Request:
        request = Request(1, deadline)
        request.item = item
        self.scheduler.admit(self.queue, request, at)
        self.scheduler.enqueue(self.queue, request, at)
        return request

    def pop(self, at: float) -> list[int] | None:
        batch = self.scheduler.next_batch(at)
        return [request.item for request in batch.requests] if batch else None


def test_taken_shortly_before_the_end() -> None:
    """
    One more batch is taken, late enough to hold the latest requests; the next waits for an end.
    """
    waiting = Waiting()
    waiting.add(0, at=0)
    assert waiting.pop(0) == [0]
    waiting.add(1, at=0.5)
    assert waiting.pop(0.5) is None
    assert waiting.scheduler.due_in(0.5) == 0.25
    waiting.add(2, at=0.7)
    assert waiting.pop(0.75) == [1, 2]
    waiting.add(3, at=0.8)
    assert waiting.pop(0.9) is None
    assert waiting.scheduler.due_in(0.9) == math.inf
    waiting.scheduler.cores.release(waiting.queue.policy)
    # The second run takes two seconds from the end of the first.
    assert waiting.scheduler.due_in(1.0) == 1.75
    assert waiting.pop(2.75) == [3]


def test_run_that_takes_longer_than_expected() -> None:
    """
    The next batch is taken when the end should have come, not when it comes.
    """
    waiting = Waiting()
    waiting.add(0, at=0)
    waiting.pop(0)
    waiting.add(1, at=5)
    assert waiting.scheduler.due_in(5) == 0
    assert waiting.pop(5) == [1]


def test_nothing_is_taken_ahead_unless_asked() -> None:
    """
    Usually the end of a run starts the next one.
    """
    waiting = Waiting(BatchPolicy(max_batch_size=4))
    waiting.add(0, at=0)
    waiting.pop(0)
    waiting.add(1, at=0.5)
    assert waiting.pop(5) is None
    assert waiting.scheduler.due_in(5) == math.inf


def test_deadline_counts_from_the_end_of_the_run_that_is_on() -> None:
    """
    A request that would be late after the run is dropped, and takes no place.
    """
    waiting = Waiting()
    waiting.add(0, at=0)
    waiting.pop(0)
    waiting.queue.learn(1.0, 2)
    late = waiting.add(1, at=0.1, deadline=2.3)
    in_time = waiting.add(2, at=0.1, deadline=9)
    waiting.queue.learn(5.0, 1)  # slower than it was when they were admitted
    assert waiting.pop(0.9) == [2]
    assert isinstance(late.error, RequestExpiredError)
    assert in_time.error is None


class TwoRuns:
    """A model whose first two batches each wait at a gate of their own."""

    def __init__(self) -> None:
        self.started = [threading.Event(), threading.Event()]
        self.gates = [threading.Event(), threading.Event()]

    def run(self, items: Sequence[int]) -> tuple[Sequence[Outputs], BatchTimes]:
        number = items[0]
        self.started[number].set()
        assert self.gates[number].wait(10)
        return [{} for _ in items], BatchTimes(0.0, 0.0, 0.0)


async def test_time_of_a_prepared_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The time of a batch that is prepared while another runs is only that of its own run.
    """
    now = [0.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    model = TwoRuns()
    with ThreadPoolExecutor(2) as executor:
        async with Batcher(executor) as batcher:
            queue = batcher.open(model, AHEAD)

            async def submit(item: int) -> Request:
                request = Request(1)
                request.item = item
                await batcher.submit(queue, request)
                return request

            calls = []
            for number in (0, 1):
                now[0] = number
                calls.append(asyncio.create_task(submit(number)))
                await asyncio.to_thread(model.started[number].wait, 10)
            now[0] = 5.0
            model.gates[0].set()
            first = await calls[0]
            now[0] = 8.0
            model.gates[1].set()
            second = await calls[1]
    assert (first.queue_s, first.inference_s) == (0, 5)
    assert (second.queue_s, second.inference_s) == (4, 3)
