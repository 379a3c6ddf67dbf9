import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from convoy.service.batching.batcher import Batcher, Runner
from convoy.service.batching.queue import BatchPolicy
from convoy.service.call import Request
from convoy.service.errors import (
    DeadlineUnmeetableError,
    InferenceError,
    QueueFullError,
    RequestExpiredError,
    ShuttingDownError,
)
from convoy.service.telemetry.batch_record import BatchTimes, Outputs

EAGER = BatchPolicy(max_batch_size=8, max_queue_size=100)


Ran = tuple[Sequence[Outputs], BatchTimes]


def outputs(values: Sequence[int]) -> Ran:
    """Return *values* as a run of a model does."""
    return [{"value": np.array(value)} for value in values], BatchTimes(0.0, 0.0, 0.0)


def value(request: Request) -> int:
    """Return the value that *request* was answered with."""
    return int(request.outputs["value"])


class Model:
    """
    A model that multiplies by ten. A closed gate holds it in its thread, and sets `started`.
    """

    def __init__(self, fail_on: frozenset[int] = frozenset()) -> None:
        self.fail_on = fail_on
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()

    def run(self, items: Sequence[int]) -> Ran:
        self.started.set()
        assert self.gate.wait(10)
        self.batches.append(list(items))
        if self.fail_on & set(items):
            raise RuntimeError("secret path /models/x.onnx")
        return outputs([item * 10 for item in items])

    async def busy(self) -> None:
        """Wait until the model runs a batch."""
        assert await asyncio.to_thread(self.started.wait, 10)


class Bench:
    """One batcher and one model."""

    def __init__(self, batcher: Batcher, model: Runner, policy: BatchPolicy) -> None:
        self.batcher = batcher
        self.queue = batcher.open(model, policy)

    async def answer(
        self, item: int, prepare: Callable[[], Awaitable[int]] | None = None, **options: Any
    ) -> Request:
        request = Request(1, **options)
        request.item = item
        await self.batcher.submit(self.queue, request, prepare)
        return request

    async def submit(self, item: int, **options: Any) -> int:
        return value(await self.answer(item, **options))

    def start(self, item: int, **options: Any) -> asyncio.Task[int]:
        return asyncio.create_task(self.submit(item, **options))


@pytest.fixture
def executor() -> Any:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def turns(count: int = 5) -> None:
    """Let other tasks go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_right_answer_to_right_caller(executor: ThreadPoolExecutor) -> None:
    """
    Each caller gets its own answer, and batches hold no more than they may.
    """
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, EAGER)
        answers = await asyncio.gather(*(bench.submit(item) for item in range(50)))
    assert answers == [item * 10 for item in range(50)]
    assert max(map(len, model.batches)) == 8


async def test_answer_states_its_times(executor: ThreadPoolExecutor) -> None:
    """
    The answer carries the size of its batch and the time of each phase.
    """
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, EAGER)
        model.gate.clear()
        first = bench.start(0)
        await model.busy()

        calls = [asyncio.create_task(bench.answer(1)) for _ in range(3)]
        await turns()
        model.gate.set()
        await first
        answers = await asyncio.gather(*calls)
    assert [answer.batch_size for answer in answers] == [3, 3, 3]
    assert all(answer.queue_s > 0 and answer.inference_s > 0 for answer in answers)


async def test_zero_delay_batches_while_busy(executor: ThreadPoolExecutor) -> None:
    """
    The first request runs alone; requests that come meanwhile run together.
    """
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, EAGER)
        model.gate.clear()
        first = bench.start(0)
        await model.busy()
        others = [bench.start(item) for item in range(1, 6)]
        await turns()
        model.gate.set()
        await asyncio.gather(first, *others)
    assert model.batches == [[0], [1, 2, 3, 4, 5]]


async def test_several_runs_at_once() -> None:
    """
    While one batch runs, another one does on the next core; the third waits, and all are answered.
    """
    model = Model()
    with ThreadPoolExecutor(2) as executor:
        async with Batcher(executor, cores=2) as batcher:
            bench = Bench(batcher, model, EAGER)
            model.gate.clear()
            first = bench.start(0)
            await model.busy()
            model.started.clear()
            second = bench.start(1)
            await model.busy()
            others = [bench.start(item) for item in range(2, 6)]
            await turns()
            assert bench.queue.ready_size == 4
            model.gate.set()
            answers = await asyncio.gather(first, second, *others)
        assert answers == [item * 10 for item in range(6)]


async def test_run_of_all_cores_waits_for_them() -> None:
    """
    A model that takes all cores runs alone, and in its turn: others do not keep it waiting.
    """
    wide, narrow = Model(), Model()
    with ThreadPoolExecutor(2) as executor:
        async with Batcher(executor, cores=2) as batcher:
            on_one = Bench(batcher, narrow, EAGER)
            on_both = Bench(batcher, wide, replace(EAGER, cores=2))
            narrow.gate.clear()
            wide.gate.clear()
            running = on_one.start(0)
            await narrow.busy()
            waiting = on_both.start(1)
            await turns()
            later = on_one.start(2)
            await turns()
            assert not wide.started.is_set()
            assert on_one.queue.ready_size == on_both.queue.ready_size == 1
            narrow.gate.set()
            await wide.busy()
            assert on_one.queue.ready_size == 1
            wide.gate.set()
            assert list(await asyncio.gather(running, waiting, later)) == [0, 10, 20]


async def test_delay_waits_for_company(executor: ThreadPoolExecutor) -> None:
    """
    With a delay, requests that come one by one share a batch.
    """
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, BatchPolicy(max_batch_size=3, max_queue_delay_s=60))
        calls = []
        for item in range(3):
            calls.append(bench.start(item))
            await turns()
        assert await asyncio.gather(*calls) == [0, 10, 20]
    assert model.batches == [[0, 1, 2]]


async def test_delay_ends(executor: ThreadPoolExecutor) -> None:
    """
    Company that does not come is not waited for.
    """
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, BatchPolicy(max_batch_size=3, max_queue_delay_s=0.001))
        assert await bench.submit(1) == 10


async def test_cancelled_while_preparing(executor: ThreadPoolExecutor) -> None:
    """
    A caller who disconnects while its image is decoded frees its place and runs nothing.
    """
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, BatchPolicy(max_batch_size=1, max_queue_size=1))
        never = asyncio.Event()

        async def prepare() -> int:
            await never.wait()
            return 0

        call = asyncio.create_task(bench.answer(0, prepare))
        await turns()
        with pytest.raises(QueueFullError):
            await bench.submit(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await bench.submit(2) == 20
    assert model.batches == [[2]]


async def test_cancelled_while_waiting(executor: ThreadPoolExecutor) -> None:
    """
    A caller who disconnects in the queue frees its place at once and is not computed.
    """
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, EAGER)
        model.gate.clear()
        first = bench.start(0)
        await model.busy()
        leaver, stayer = bench.start(1), bench.start(2)
        await turns()
        assert bench.queue.admitted_size == 2
        leaver.cancel()
        await turns()
        assert bench.queue.admitted_size == 1
        model.gate.set()
        assert list(await asyncio.gather(first, stayer)) == [0, 20]
    assert model.batches == [[0], [2]]


async def test_cancelled_while_running(executor: ThreadPoolExecutor) -> None:
    """
    One caller disconnects while its batch runs; the other three are answered.
    """
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, BatchPolicy(max_batch_size=4, max_queue_delay_s=60))
        model.gate.clear()
        calls = [bench.start(item) for item in range(1, 5)]
        await model.busy()
        calls[0].cancel()
        await turns()
        model.gate.set()
        assert await asyncio.gather(*calls[1:]) == [20, 30, 40]
    assert calls[0].cancelled()
    assert model.batches == [[1, 2, 3, 4]]


async def test_poisoned_item_fails_alone(
    executor: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Seven of 8 items beside a poisoned one are answered; the cause is only logged.
    """
    model = Model(fail_on=frozenset({5}))
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, EAGER)
        model.gate.clear()
        first = bench.start(0)
        await model.busy()
        calls = [bench.start(item) for item in range(1, 9)]
        await turns()
        model.gate.set()
        await first
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert await bench.submit(9) == 90
    poisoned = results.pop(4)
    assert results == [10, 20, 30, 40, 60, 70, 80]
    assert isinstance(poisoned, InferenceError)
    assert "secret" not in str(poisoned)
    assert "secret" in caplog.text
    assert model.batches[1] == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_every_item_poisoned(executor: ThreadPoolExecutor) -> None:
    """
    A model that always fails fails every caller, and nothing hangs.
    """
    model = Model(fail_on=frozenset(range(8)))
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, EAGER)
        calls = (bench.submit(item) for item in range(8))
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, InferenceError) for result in results)


async def test_disconnected_callers_are_not_run_again(executor: ThreadPoolExecutor) -> None:
    """
    Callers who have disconnected are left out when a failed batch is run in halves.
    """
    model = Model(fail_on=frozenset({1}))
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, EAGER)
        model.gate.clear()
        calls = [bench.start(item) for item in range(1, 5)]
        await model.busy()
        for call in calls[2:]:
            call.cancel()
        await turns()
        model.gate.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[0], InferenceError)
    assert results[1] == 20
    assert model.batches == [[1, 2, 3, 4], [1, 2], [1], [2]]


class Loser:
    """A model that loses the first result of each batch."""

    def run(self, items: Sequence[int]) -> Ran:
        return outputs(items[1:])


async def test_wrong_number_of_results(executor: ThreadPoolExecutor) -> None:
    """
    A model that returns too few results fails its batch; no answer goes to another request.
    """
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, Loser(), EAGER)
        results = await asyncio.gather(bench.submit(1), bench.submit(2), return_exceptions=True)
    assert all(isinstance(result, InferenceError) for result in results)


async def test_full_queue_refuses_at_once(executor: ThreadPoolExecutor) -> None:
    """
    A full queue refuses before any image is decoded.
    """
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, BatchPolicy(max_batch_size=1, max_queue_size=2))
        model.gate.clear()
        calls = [bench.start(0)]
        await model.busy()
        calls += [bench.start(1), bench.start(2)]
        await turns()

        async def prepare() -> int:
            raise AssertionError("prepared although the queue is full")

        with pytest.raises(QueueFullError):
            await bench.answer(0, prepare)
        model.gate.set()
        assert await asyncio.gather(*calls) == [0, 10, 20]


async def test_expired_request_is_not_computed(executor: ThreadPoolExecutor) -> None:
    """
    A request whose deadline passes while the model is busy is not run.
    """
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, EAGER)
        model.gate.clear()
        first = bench.start(0)
        await model.busy()
        late = bench.start(1, deadline=asyncio.get_running_loop().time())
        await turns()
        model.gate.set()
        assert await first == 0
        with pytest.raises(RequestExpiredError):
            await late
    assert model.batches == [[0]]


async def test_expired_while_preparing(executor: ThreadPoolExecutor) -> None:
    """
    A request whose deadline passes while its image is decoded, or waits for that, fails at once,
    and its image is not decoded.
    """
    given_up = False
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, EAGER)

        async def prepare() -> int:
            nonlocal given_up
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                given_up = True
                raise
            return 0

        deadline = asyncio.get_running_loop().time() + 0.01
        with pytest.raises(RequestExpiredError):
            async with asyncio.timeout(10):
                await bench.answer(0, prepare, deadline=deadline)
        assert given_up
        assert bench.queue.admitted_size == 0
        assert await bench.submit(1) == 10
    assert model.batches == [[1]]


async def test_cancelled_at_the_deadline(executor: ThreadPoolExecutor) -> None:
    """
    A caller who disconnects at the deadline, while its image is decoded, is cancelled all the same.
    """
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, Model(), EAGER)

        async def prepare() -> int:
            await asyncio.sleep(60)
            return 0

        call = asyncio.create_task(bench.answer(0, prepare))
        await turns()
        [request] = bench.queue.admitted
        bench.queue.expire(request)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert bench.queue.admitted_size == 0


async def test_failed_preparation_gives_the_place_back(executor: ThreadPoolExecutor) -> None:
    """
    An error of decoding reaches the caller, and its place is free.
    """
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, Model(), BatchPolicy(max_batch_size=1, max_queue_size=1))

        async def prepare() -> int:
            raise ValueError("not an image")

        for _ in range(3):
            with pytest.raises(ValueError, match="not an image"):
                await bench.answer(0, prepare)
        assert await bench.submit(1) == 10


async def test_idle_uses_no_cpu(executor: ThreadPoolExecutor) -> None:
    """
    An idle batcher waits for an event only: no timer, no callback is left on the loop.
    """
    async with Batcher(executor) as batcher:
        await Bench(batcher, Model(), EAGER).submit(1)
        await turns()
        loop: Any = asyncio.get_running_loop()
        assert [handle for handle in loop._scheduled if not handle.cancelled()] == []
        assert not loop._ready


async def test_closing_answers_what_is_admitted(executor: ThreadPoolExecutor) -> None:
    """
    Leaving the context answers what waits and what is still being decoded; then it refuses.
    """
    decoded = asyncio.Event()
    async with Batcher(executor) as batcher:
        policy = BatchPolicy(max_batch_size=2, max_queue_delay_s=60)
        bench = Bench(batcher, Model(), policy)

        async def prepare() -> int:
            await decoded.wait()
            return 9

        decoding = asyncio.create_task(bench.answer(0, prepare))
        calls = [bench.start(item) for item in range(5)]
        await turns()
        asyncio.get_running_loop().call_later(0.01, decoded.set)
    assert await asyncio.gather(*calls) == [0, 10, 20, 30, 40]
    assert value(await decoding) == 90
    with pytest.raises(ShuttingDownError):
        await bench.submit(1)


async def test_closing_does_not_wait_for_disconnected_callers(executor: ThreadPoolExecutor) -> None:
    """
    A caller who disconnects while the batcher closes does not keep it open.
    """
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, Model(), EAGER)

        async def prepare() -> int:
            await asyncio.Event().wait()
            return 0

        call = asyncio.create_task(bench.answer(0, prepare))
        await turns()
        asyncio.get_running_loop().call_later(0.01, call.cancel)
    assert call.cancelled()


async def test_closed_model_runs_nothing_any_more(executor: ThreadPoolExecutor) -> None:
    """
    A model is closed once its last batch has ended, also if its callers have left before.
    """
    model = Model()
    async with Batcher(executor) as batcher:
        bench = Bench(batcher, model, EAGER)
        model.gate.clear()
        calls = [bench.start(item) for item in range(2)]
        await model.busy()
        for call in calls:
            call.cancel()
        closing = asyncio.create_task(batcher.close(bench.queue))
        await turns()
        assert not closing.done()
        model.gate.set()
        async with asyncio.timeout(10):
            await closing
        ran = len(model.batches)
        assert ran == 1
        await turns()
        assert len(model.batches) == ran
        assert await Bench(batcher, model, EAGER).submit(1) == 10


async def test_nothing_hangs_after_the_executor_is_shut_down() -> None:
    """
    If no batch can be run any more, callers get an error.
    """
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    async with Batcher(executor) as batcher:
        with pytest.raises(InferenceError):
            await Bench(batcher, Model(), EAGER).submit(1)


async def test_two_models_share_one_device(executor: ThreadPoolExecutor) -> None:
    """
    A model with a long queue does not starve another one.
    """
    order: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, items: Sequence[int]) -> Ran:
            order.append(self.name)
            return outputs(items)

    policy = BatchPolicy(max_batch_size=1, max_queue_size=100)
    gate = Model()
    async with Batcher(executor) as batcher:
        gate.gate.clear()
        holder = Bench(batcher, gate, policy).start(0)
        await gate.busy()
        crowded, quiet = (
            Bench(batcher, Named("crowded"), policy),
            Bench(batcher, Named("quiet"), policy),
        )
        calls: list[Awaitable[int]] = [crowded.start(item) for item in range(40)]
        calls.append(quiet.start(0))
        await turns()
        gate.gate.set()
        await asyncio.gather(holder, *calls)
    assert order.index("quiet") <= 1


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_ever_hangs(executor: ThreadPoolExecutor, seed: int) -> None:
    """
    Each caller ends in one of the allowed ways, with its own answer, in any combination of events.
    """
    random = Random(seed)
    policy = BatchPolicy(
        max_batch_size=random.choice([1, 3, 8]),
        max_queue_delay_s=random.choice([0, 0, 0.001]),
        max_queue_size=random.choice([8, 100]),
    )
    poisoned = frozenset(random.sample(range(100), 5))
    loop = asyncio.get_running_loop()
    outcomes: dict[int, int | BaseException] = {}
    async with Batcher(executor) as batcher:
        benches = [Bench(batcher, Model(fail_on=poisoned), policy) for _ in range(2)]

        async def one(item: int) -> None:
            async def prepare() -> int:
                await turns(random.randrange(4))
                return item

            deadline = loop.time() + random.choice([-1, 0.001, 60, 60, 60])
            bench = random.choice(benches)
            try:
                outcomes[item] = value(await bench.answer(item, prepare, deadline=deadline))
            except BaseException as error:
                outcomes[item] = error

        calls = []
        for item in range(100):
            calls.append(asyncio.create_task(one(item)))
            if random.random() < 0.2:
                random.choice(calls).cancel()
            if random.random() < 0.3:
                await turns(random.randrange(10))
        async with asyncio.timeout(20):
            await asyncio.gather(*calls, return_exceptions=True)
        assert all(bench.queue.admitted_size == bench.queue.ready_size == 0 for bench in benches)
    for item, outcome in outcomes.items():
        if isinstance(outcome, InferenceError):
            assert item in poisoned
        elif isinstance(outcome, int):
            assert outcome == item * 10
        else:
            late = (RequestExpiredError, DeadlineUnmeetableError)
            assert isinstance(outcome, (asyncio.CancelledError, QueueFullError, *late))
    assert any(isinstance(outcome, int) for outcome in outcomes.values())


@pytest.mark.parametrize("leaves", ["withdrawn", "expired"])
async def test_shadow_after_a_request_that_leaves(
    executor: ThreadPoolExecutor, leaves: str
) -> None:
    """
    A shadow runs as soon as the request that it waited for is withdrawn, or expires.
    """
    async with Batcher(executor) as batcher:
        serving, shadow = batcher.open(Model(), EAGER), batcher.open(Model(), EAGER)
        batcher.set_shadow(shadow, is_shadow=True)
        now = asyncio.get_running_loop().time()
        deadline = now + 0.05 if leaves == "expired" else float("inf")
        decoding = Request(deadline=deadline)
        batcher.admit(serving, decoding)
        done = asyncio.Event()
        waiting = Request(item=4, on_done=lambda request: done.set())
        batcher.offer(shadow, waiting)
        await asyncio.sleep(0)
        assert not waiting.done
        if leaves == "withdrawn":
            batcher.withdraw(serving, decoding)
        async with asyncio.timeout(10):
            await done.wait()
        assert value(waiting) == 40


async def test_log_of_a_failing_shadow(
    executor: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """
    One failure per minute is logged; a model that serves has each of them logged.
    """
    async with Batcher(executor) as batcher:
        queue = batcher.open(Model(fail_on=frozenset({1})), EAGER)

        async def fail_twice() -> int:
            caplog.clear()
            for _ in range(2):
                with pytest.raises(InferenceError):
                    await batcher.submit(queue, Request(item=1))
            return [record.message for record in caplog.records].count("inference failed")

        assert await fail_twice() == 2
        batcher.set_shadow(queue, is_shadow=True)
        assert await fail_twice() == 1
