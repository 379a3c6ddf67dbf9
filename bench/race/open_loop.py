"""One measurement in an open loop: requests leave on time, whatever the answers do."""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np

from bench.race.loads import Arrivals, Measured, warm_up_s
from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.bench.load_results import OK
from convoy.commands.bench.loops import arrivals, open_loop
from convoy.commands.bench.target import Sender, find


def measure(address: str, model: str, load: Arrivals, seconds: float) -> Measured:
    """
    Send random tensors to *model*; latency counts from the time when each was to leave.

    Raises:
        RuntimeError: If a request fails.
    """
    return asyncio.run(_measure(address, model, load, seconds))


async def _measure(address: str, model: str, load: Arrivals, seconds: float) -> Measured:
    settings = BenchSettings.model_validate({"address": address, "model": model})
    target = await find(settings, [])
    async with Sender(target, settings) as send:
        await open_loop(send, arrivals("poisson", load.per_s, warm_up_s(seconds), seed=1))
        answers = await open_loop(send, arrivals("poisson", load.per_s, seconds, seed=0))
    if failed := Counter(answer.code for answer in answers if answer.code != OK):
        raise RuntimeError(f"{address}: {dict(failed)}: {send.failures}")
    took_ms = [1000 * (answer.done_s - answer.due_s) for answer in answers]
    p50, p99 = np.percentile(took_ms, [50, 99])
    return Measured(len(answers) / seconds, float(p50), float(p99))
