import math
from dataclasses import replace
from typing import Any

import pytest

from convoy.service.batching.queue import LEAST_RETRY_S, PATIENCE_S, BatchPolicy, ModelQueue
from convoy.service.batching.scheduler import Scheduler
from convoy.service.call import Request
from convoy.service.errors import (
    DeadlineUnmeetableError,
    QueueFullError,
    RequestExpiredError,
    ShuttingDownError,
)

POLICY = BatchPolicy(max_batch_size=4, max_queue_delay_s=0.01, max_queue_size=8)
EAGER = BatchPolicy(max_batch_size=4, max_queue_size=100)


class Requests:
    """Makes requests whose item is their number."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def admit(
        self, queue: ModelQueue, *, size: int = 1, at: float = 0.0, **options: Any
    ) -> Request:
        request = Request(size, **options)
        self._scheduler.admit(queue, request, at)
        return request

    def add(self, queue: ModelQueue, item: int, *, at: float = 0.0, **options: Any) -> Request:
        request = self.admit(queue, at=at, **options)
        request.item = item
        self._scheduler.enqueue(queue, request, at)
        return request


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def requests(scheduler: Scheduler) -> Requests:
    return Requests(scheduler)


def run(scheduler: Scheduler, now: float = 0.0, seconds: float = 0.0, **options: Any) -> list[int]:
    """Let the next batch run, alone, for *seconds*; return its items."""
    batch = scheduler.next_batch(now, **options)
    assert batch is not None
    scheduler.cores.release(batch.queue.policy)
    batch.queue.charge(seconds)
    return [request.item for request in batch.requests]


def test_due(scheduler: Scheduler, requests: Requests) -> None:
    """
    Empty: never. Full: now. Otherwise: when the oldest has waited long enough.
    """
    queue = scheduler.open(POLICY)
    assert scheduler.due_in(0.0) == math.inf
    requests.add(queue, 0, at=1.0)
    assert scheduler.due_in(1.0) == pytest.approx(0.01)
    assert scheduler.next_batch(1.0) is None
    assert scheduler.due_in(5.0) == 0.0
    for item in range(1, 4):
        requests.add(queue, item, at=1.0)
    assert scheduler.due_in(1.0) == 0.0
    assert run(scheduler, 1.0) == [0, 1, 2, 3]
    assert scheduler.due_in(1.0) == math.inf


def test_delay_is_ignored_at_the_end(scheduler: Scheduler, requests: Requests) -> None:
    """
    A server that closes waits for no company.
    """
    requests.add(scheduler.open(POLICY), 0, at=1.0)
    assert run(scheduler, 1.0, ignore_delay=True) == [0]


def test_zero_delay_takes_what_is_there(scheduler: Scheduler, requests: Requests) -> None:
    """
    Without a delay a free device takes what waits, at once, up to a full batch.
    """
    queue = scheduler.open(EAGER)
    for item in range(6):
        requests.add(queue, item)
    assert run(scheduler, 0.0) == [0, 1, 2, 3]
    assert run(scheduler, 0.0) == [4, 5]


def test_full_queue_refuses(scheduler: Scheduler, requests: Requests) -> None:
    """
    The ninth image is refused, be the eight decoding or waiting; a place given back is free.
    """
    queue = scheduler.open(POLICY)
    decoding = requests.admit(queue, size=3)
    for item in range(5):
        requests.add(queue, item)
    with pytest.raises(QueueFullError, match="8 images"):
        requests.admit(queue)
    queue.remove(decoding)
    queue.remove(decoding)  # twice gives nothing back twice
    requests.admit(queue, size=3)
    with pytest.raises(QueueFullError):
        requests.admit(queue)


def test_popped_requests_free_their_places(scheduler: Scheduler, requests: Requests) -> None:
    """
    Requests that run do not count as waiting.
    """
    queue = scheduler.open(POLICY)
    for item in range(8):
        requests.add(queue, item)
    run(scheduler)
    assert queue.admitted_size == queue.ready_size == 4
    for item in range(4):
        requests.add(queue, item)


def test_cancelled_and_expired_take_no_place(scheduler: Scheduler, requests: Requests) -> None:
    """
    Cancelled and expired requests take no place in the batch.
    """
    queue = scheduler.open(EAGER)
    gone = requests.add(queue, 0)
    expired = requests.add(queue, 1, deadline=5.0)
    for item in range(2, 6):
        requests.add(queue, item)
    gone.withdraw()
    assert run(scheduler, 5.0) == [2, 3, 4, 5]
    assert isinstance(expired.error, RequestExpiredError)
    assert scheduler.next_batch(5.0) is None
    assert scheduler.empty


def test_only_expired(scheduler: Scheduler, requests: Requests) -> None:
    """
    A queue of nothing but expired requests gives no batch, and the next queue its turn.
    """
    first, second = scheduler.open(EAGER), scheduler.open(EAGER)
    expired = requests.add(first, 0, deadline=1.0)
    requests.add(second, 1)
    assert run(scheduler, 2.0) == [1]
    assert isinstance(expired.error, RequestExpiredError)


def test_requests_of_many_images_stay_whole(scheduler: Scheduler, requests: Requests) -> None:
    """
    A batch counts images; a request that does not fit any more opens the next one.
    """
    queue = scheduler.open(EAGER)
    for item, size in enumerate((3, 2, 2, 4)):
        requests.add(queue, item, size=size)
    assert run(scheduler, 0.0) == [0]
    assert run(scheduler, 0.0) == [1, 2]
    assert run(scheduler, 0.0) == [3]


def test_priorities(scheduler: Scheduler, requests: Requests) -> None:
    """
    Within a model the first priority leaves first, each in its own order.
    """
    queue = scheduler.open(EAGER)
    for item, priority in enumerate((3, 2, 1, 2, 1, 3)):
        requests.add(queue, item, priority=priority)
    assert run(scheduler, 0.0) == [2, 4, 1, 3]
    assert run(scheduler, 0.0) == [0, 5]


def test_oldest_request_of_any_priority_counts(scheduler: Scheduler, requests: Requests) -> None:
    """
    The delay of a batch is that of the request that waits longest.
    """
    queue = scheduler.open(POLICY)
    requests.add(queue, 0, at=1.0, priority=3)
    requests.add(queue, 1, at=1.5, priority=1)
    assert queue.due_at() == pytest.approx(1.01)


def test_closed_queue_is_removed(scheduler: Scheduler, requests: Requests) -> None:
    """
    The queue of a model that is unloaded takes no further part.
    """
    queue, other = scheduler.open(EAGER), scheduler.open(EAGER)
    requests.add(other, 1)
    scheduler.close(queue)
    assert run(scheduler, 0.0) == [1]
    assert scheduler.due_in(0.0) == math.inf


def test_refusal_states_a_time_to_retry(scheduler: Scheduler, requests: Requests) -> None:
    """
    The hint is the time that what waits will take, by what the latest batches took.
    """
    queue = scheduler.open(POLICY)
    for item in range(8):
        requests.add(queue, item)
    with pytest.raises(QueueFullError) as refused:
        queue.check_room(1)
    assert refused.value.retry_after_s == LEAST_RETRY_S  # nothing has run yet
    for _ in range(30):
        queue.learn(2.0, 4)
    with pytest.raises(QueueFullError) as refused:
        queue.check_room(1)
    assert refused.value.retry_after_s == pytest.approx(8 * 0.5)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_models_share_the_device_fairly(
    scheduler: Scheduler, requests: Requests, weight: float
) -> None:
    """
    Two models under full load share device time by their weights, with batches of any duration.
    """
    heavy = replace(EAGER, weight=weight)
    seconds = {scheduler.open(heavy): 1.0, scheduler.open(EAGER): 0.25}
    used = dict.fromkeys(seconds, 0.0)
    for _ in range(200):
        for queue in seconds:
            if not queue.ready_size:
                for item in range(8):
                    requests.add(queue, item)
        batch = scheduler.next_batch(0.0)
        assert batch is not None
        scheduler.cores.release(batch.queue.policy)
        batch.queue.charge(seconds[batch.queue])
        used[batch.queue] += seconds[batch.queue]
    slow, fast = used.values()
    assert slow == pytest.approx(weight * fast, abs=1.0)


def test_idle_model_saves_up_nothing(scheduler: Scheduler, requests: Requests) -> None:
    """
    A model that was idle is served soon, but does not keep the device for its idle time.
    """
    busy, idle = scheduler.open(EAGER), scheduler.open(EAGER)
    for item in range(40):
        requests.add(busy, item)
    for _ in range(5):
        run(scheduler, seconds=1.0)
    for item in range(40, 80):
        requests.add(idle, item)
    turns = [run(scheduler, seconds=1.0)[0] or 0 for _ in range(8)]
    of_idle = [item >= 40 for item in turns]
    assert any(of_idle[:2])
    assert 3 <= of_idle.count(True) <= 5


def test_free_cores_share_what_waits() -> None:
    """
    A run takes no more than its share if several may start at once.
    """
    scheduler = Scheduler(cores=2)
    requests = Requests(scheduler)
    queue = scheduler.open(EAGER)
    for item in range(3):
        requests.add(queue, item)
    batches = [scheduler.next_batch(0.0) for _ in range(3)]
    items = [batch and [request.item for request in batch.requests] for batch in batches]
    assert items == [[0, 1], [2], None]


def test_small_batch_for_the_event_loop() -> None:
    """
    A batch small enough for the event loop is not shared among cores; a larger one is.
    """
    scheduler = Scheduler(cores=2)
    requests = Requests(scheduler)
    queue = scheduler.open(replace(EAGER, inline_size=3))
    for item in range(3):
        requests.add(queue, item)
    assert run(scheduler, 0.0) == [0, 1, 2]
    for item in range(4):
        requests.add(queue, item)
    assert run(scheduler, 0.0) == [0, 1]


def test_runs_of_several_cores() -> None:
    """
    A model whose run takes more cores than are free waits, and holds back those behind it.
    """
    scheduler = Scheduler(cores=2)
    requests = Requests(scheduler)
    wide, narrow = scheduler.open(replace(EAGER, cores=2)), scheduler.open(EAGER)
    requests.add(narrow, 0)
    assert scheduler.next_batch(0.0) is not None
    narrow.charge(1.0)
    requests.add(wide, 1, at=1.0)
    requests.add(narrow, 2, at=1.0)
    assert scheduler.next_batch(2.0) is None
    scheduler.cores.release(narrow.policy)
    assert run(scheduler, 2.0, seconds=0.25) == [1]
    assert wide.device_s == 0.5
    assert run(scheduler, 2.0) == [2]


def test_earliest_deadline_first(scheduler: Scheduler, requests: Requests) -> None:
    """
    Within a priority the earliest deadline leaves first; equal ones, in their order.
    """
    queue = scheduler.open(EAGER)
    for item, deadline in enumerate((0.9, 0.5, 0.9, 0.1)):
        requests.add(queue, item, deadline=deadline)
    requests.add(queue, 4, deadline=0.05, priority=3)
    assert run(scheduler) == [3, 1, 0, 2]
    assert run(scheduler) == [4]


def test_patience_ends(scheduler: Scheduler, requests: Requests) -> None:
    """
    A request that could wait for ever is not kept waiting by more urgent ones without end.
    """
    queue = scheduler.open(EAGER)
    requests.add(queue, 0)
    requests.add(queue, 1, deadline=60.0)
    requests.add(queue, 2, at=0.5, deadline=0.5 + PATIENCE_S)
    requests.add(queue, 3, at=0.6, deadline=0.9)
    assert run(scheduler, 0.7) == [3, 0, 1, 2]


def test_batch_that_its_most_urgent_request_survives(
    scheduler: Scheduler, requests: Requests
) -> None:
    """
    A batch grows no larger than can be run before the earliest deadline in it.
    """
    queue = scheduler.open(EAGER)
    for item in range(4):
        requests.add(queue, item, deadline=0.38)
    for size in (1, 2, 4):
        queue.learn(0.1 * size, size)
    assert run(scheduler) == [0, 1, 2]
    assert run(scheduler, 0.2) == [3]


def test_too_late_for_a_run(scheduler: Scheduler, requests: Requests) -> None:
    """
    A request that a run cannot answer in time takes no place in it.
    """
    queue = scheduler.open(EAGER)
    late = requests.add(queue, 0, deadline=0.35)
    requests.add(queue, 1, deadline=0.9)
    queue.learn(0.3, 1)
    queue.learn(0.4, 2)
    assert run(scheduler, 0.1) == [1]
    assert isinstance(late.error, RequestExpiredError)


def test_hopeless_request_is_refused(scheduler: Scheduler, requests: Requests) -> None:
    """
    A request that could not be answered in time is refused before any work is spent on it, and
    gets a time to retry; one that is urgent enough to go first is not refused.
    """
    queue = scheduler.open(EAGER)
    for item in range(8):
        requests.add(queue, item, deadline=0.9)
    queue.learn(0.4, 4)
    with pytest.raises(DeadlineUnmeetableError, match="400 ms after") as refused:
        requests.admit(queue, deadline=0.9)
    assert refused.value.retry_after_s == pytest.approx(0.4)
    requests.admit(queue, deadline=0.89)
    requests.admit(queue)


def test_wait_for_the_run_that_is_on(scheduler: Scheduler, requests: Requests) -> None:
    """
    The rest of the present run and the turns of other models count.
    """
    queue, other = scheduler.open(EAGER), scheduler.open(EAGER)
    queue.learn(0.4, 1)
    requests.add(queue, 0)
    assert scheduler.next_batch(0.0) is not None
    with pytest.raises(DeadlineUnmeetableError, match="200 ms after"):
        requests.admit(queue, at=0.1, deadline=0.7)
    requests.add(queue, 1, at=0.1)
    requests.add(other, 2, at=0.1)
    with pytest.raises(DeadlineUnmeetableError, match="200 ms after"):
        requests.admit(queue, at=0.1, deadline=1.5, priority=3)
    requests.admit(queue, at=0.1, deadline=1.8, priority=3)


def test_run_that_was_over_sooner(scheduler: Scheduler, requests: Requests) -> None:
    """
    A run that ended sooner than expected keeps no request out.
    """
    queue = scheduler.open(EAGER)
    queue.learn(10.0, 1)
    requests.add(queue, 0)
    run(scheduler)
    for _ in range(20):
        queue.learn(0.1, 1)
    requests.add(queue, 1, at=0.1)
    assert scheduler.next_batch(0.1) is not None
    requests.admit(queue, at=0.1, deadline=0.5)


def test_idle_device_does_not_refuse_for_ever(scheduler: Scheduler, requests: Requests) -> None:
    """
    One slow run, such as a first one, does not turn away every request that comes after it.
    """
    queue = scheduler.open(EAGER)
    queue.learn(10.0, 1)
    refused = 0
    while True:
        try:
            requests.admit(queue, deadline=0.5)
        except DeadlineUnmeetableError:
            refused += 1
        else:
            break
    assert 10 < refused < 50


def test_fail_all(scheduler: Scheduler, requests: Requests) -> None:
    """
    At the end of everything each request learns it, be it decoding or waiting.
    """
    queue = scheduler.open(EAGER)
    gone = requests.add(queue, 0)
    gone.withdraw()
    left = [requests.add(queue, 1), requests.admit(queue)]
    scheduler.fail_all(ShuttingDownError("bye"))
    assert all(isinstance(p.error, ShuttingDownError) for p in left)
    assert scheduler.empty
