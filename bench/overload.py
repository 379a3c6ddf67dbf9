"""Offers a server three times what it can do, and sees what becomes of it.

Prints JSON: the capacity in a closed loop; under overload the answers per second, their latencies,
and how long refusals took; and how long after the end of it one request is answered as fast again
as before. `python -m bench.overload --repository build/zoo/seed-0/models --model resnet18`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.bench.load_results import OK, Answer
from convoy.commands.bench.loops import arrivals, closed_loop, open_loop
from convoy.commands.bench.target import Sender, find
from tests.harness.server_process import ServerProcess

IN_FLIGHT = 8
"""Requests on their way while the capacity is found."""

CAPACITY_S = 10.0
QUIET_REQUESTS = 50
"""Requests, one after the other, that tell what is normal."""

AS_BEFORE = 2.0
"""A request takes as long as before if it takes no more than so many times the median of then."""

GIVES_UP_S = 30.0

REFUSED = "RESOURCE_EXHAUSTED"


async def measure(settings: BenchSettings, seconds: float, times: float) -> dict[str, Any]:
    """Find the capacity of the server at `settings.address`, overload it, watch it recover."""
    target = await find(settings, [])
    async with Sender(target, settings) as send:
        quiet_s = [await _timed(send) for _ in range(QUIET_REQUESTS)]
        found = await closed_loop(send, IN_FLIGHT, CAPACITY_S)
        capacity = sum(answer.code == OK for answer in found) / CAPACITY_S
        due = arrivals("poisson", times * capacity, seconds, settings.seed)
        answers = await open_loop(send, due)
        recovered_s = await _recovery(send, AS_BEFORE * float(np.median(quiet_s)))
    return {
        "model": settings.model,
        "deadline_s": settings.timeout_s,
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(len(answers) / seconds, 1),
        "overload": _told(answers, seconds),
        "as_before_after_s": recovered_s,
        "failures": send.failures,
    }


async def _timed(send: Sender) -> float:
    started = time.perf_counter()
    if (code := await send()) != OK:
        raise RuntimeError(f"a request without any load beside it ended with {code}")
    return time.perf_counter() - started


async def _recovery(send: Sender, normal_s: float) -> float | None:
    """Seconds until a request takes no more than *normal_s*; None if it takes for ever."""
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < GIVES_UP_S:
        asked = time.perf_counter()
        if await send() == OK and time.perf_counter() - asked <= normal_s:
            return round(passed, 2)
    return None


def _told(answers: Sequence[Answer], seconds: float) -> dict[str, Any]:
    codes = Counter(answer.code for answer in answers)
    lag_s = [answer.sent_s - answer.due_s for answer in answers]
    return {
        "codes": dict(codes),
        "answered_per_s": round(codes[OK] / seconds, 1),
        "answered_ms": _percentiles_ms(answers, OK),
        "refused_ms": _percentiles_ms(answers, REFUSED),
        # Much of it says that the generator was at its limit, and refusals seem slow for it.
        "lag_p99_ms": round(float(np.percentile(lag_s, 99)) * 1000, 2),
    }


def _percentiles_ms(answers: Sequence[Answer], code: str) -> dict[str, float]:
    """Of the time from sending to the end of the requests that ended so; empty if none did."""
    took_s = [answer.done_s - answer.sent_s for answer in answers if answer.code == code]
    if not took_s:
        return {}
    names = ("p50", "p90", "p99", "max")
    values = np.percentile(took_s, (50, 90, 99, 100)) * 1000
    return {name: round(float(value), 2) for name, value in zip(names, values, strict=True)}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=3, help="capacity")
    parser.add_argument("--deadline-s", type=float, default=1)
    parser.add_argument("--transport", choices=("grpcio", "native"), default="grpcio")
    given = parser.parse_args()
    options = ("--model-control-mode", "explicit", "--load-model", given.model)
    with ServerProcess(given.repository, *options, "--transport", given.transport) as server:
        settings = BenchSettings.model_validate(
            {"address": server.address, "model": given.model, "timeout_s": given.deadline_s}
        )
        measured = asyncio.run(measure(settings, given.seconds, given.times))
    print(json.dumps({"transport": given.transport} | measured, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
