import asyncio
import itertools
import math

import numpy as np
import pytest
from pydantic import ValidationError

from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.bench.load_results import Answer, summarize
from convoy.commands.bench.loops import arrivals, closed_loop, open_loop


def test_constant_arrivals() -> None:
    """
    A constant rate leaves the same time between requests, and ends with the load.
    """
    assert list(arrivals("constant", 4.0, 1.1, seed=0)) == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_poisson_arrivals() -> None:
    """
    Intervals are exponentially distributed: mean and standard deviation are one over the rate;
    the same seed gives the same ones.
    """
    times = list(arrivals("poisson", 50.0, 400.0, seed=3))
    intervals = np.diff([0.0, *times])
    assert times == list(arrivals("poisson", 50.0, 400.0, seed=3))
    assert times != list(arrivals("poisson", 50.0, 400.0, seed=4))
    assert max(times) < 400.0
    assert intervals.mean() == pytest.approx(0.02, rel=0.03)
    assert intervals.std() == pytest.approx(0.02, rel=0.05)


async def test_open_loop_waits_for_no_answer() -> None:
    """
    Requests leave while the first one has no answer; its latency counts from when it was due.
    """
    third_left = asyncio.Event()
    numbers = itertools.count()

    async def ask() -> str:
        number = next(numbers)
        if number == 0:
            await third_left.wait()
        if number == 2:
            third_left.set()
        return "OK"

    answers = await open_loop(ask, [-1.0, 0.0, 0.0])
    assert len(answers) == 3
    first = min(answers)
    assert first.done_s - first.due_s > 1.0
    assert first.sent_s - first.due_s > 1.0


async def test_closed_loop_keeps_its_number_in_flight() -> None:
    """
    The closed loop keeps its number of requests in flight, and never more.
    """
    in_flight: set[int] = set()
    seen: list[int] = []

    async def ask() -> str:
        number = len(seen)
        in_flight.add(number)
        seen.append(len(in_flight))
        if len(seen) == 30:
            loop.cancel()
        await asyncio.sleep(0)
        in_flight.discard(number)
        return "OK"

    loop = asyncio.create_task(closed_loop(ask, 3, math.inf))
    with pytest.raises(asyncio.CancelledError):
        await loop
    assert max(seen) == 3


def test_summary() -> None:
    """
    Requests that were due in the time that counts are summed up, and no others; what failed has no
    latency; a percentile is a latency that was seen.
    """
    answers = [
        Answer(0.5, 0.5, 1.5, "OK"),  # due before: only its answer falls into the time
        Answer(1.0, 1.0, 1.010, "OK"),
        Answer(2.0, 2.004, 2.030, "OK"),
        Answer(2.5, 2.5, 2.501, "RESOURCE_EXHAUSTED"),
        Answer(2.9, 2.9, 3.000, "OK"),  # answered too late to count as answered in the time
        Answer(3.0, 3.0, 3.001, "OK"),
    ]
    step = summarize(answers, 1.0, 3.0, rate_per_s=2.0)
    assert (step.requests, step.failed, step.answered_per_s) == (4, {"RESOURCE_EXHAUSTED": 1}, 1.5)
    assert (step.latency(0), step.latency(50), step.latency(100)) == (10.0, 30.0, 100.0)
    assert step.lag_p99_ms == pytest.approx(4.0)
    assert step.name == "2/s"


def test_summary_of_nothing() -> None:
    """
    A summary without answers has no latency.
    """
    step = summarize([Answer(0.0, 0.0, 9.0, "UNAVAILABLE")], 0.0, 1.0, concurrency=1)
    assert (step.answered_per_s, step.latency_ms, step.failed) == (0.0, {}, {"UNAVAILABLE": 1})
    assert math.isnan(step.latency(50))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"concurrency": "1", "rate": "5"}, "exclude each other"),
        ({"mlperf": "server"}, "needs one --rate"),
        ({"mlperf": "offline", "rate": "1,2"}, "needs one --rate"),
        ({"mlperf": "offline", "rate": "1", "plot": "a.png"}, "logs of its own"),
        ({"mlperf": "server", "rate": "1", "warmup_s": "2"}, "--warmup-s: only for a load without"),
        ({"rate": "1", "p99_ms": "5"}, "--p99-ms: only for --mlperf; leave it out"),
        ({"concurrency": "1", "arrivals": "constant"}, "--arrivals: only for --rate without"),
        ({"rate": "0"}, "greater than 0"),
        ({"concurrency": "0"}, "greater than or equal to 1"),
    ],
)
def test_loads_that_make_no_sense(changes: dict[str, str], message: str) -> None:
    """
    Settings that contradict each other are refused before anything is sent.
    """
    with pytest.raises(ValidationError, match=message):
        BenchSettings.model_validate({"model": "lenet5", **changes})
