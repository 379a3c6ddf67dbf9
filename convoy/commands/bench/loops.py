"""The two kinds of load: a closed loop and an open loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator

import numpy as np

from convoy.commands.bench.load_results import Answer

Ask = Callable[[], Awaitable[str]]
"""A function that sends the next request and returns the name of its status."""


async def closed_loop(ask: Ask, in_flight: int, seconds: float) -> list[Answer]:
    """Keep *in_flight* requests in flight for *seconds*: each answer lets the next one leave."""
    now = asyncio.get_running_loop().time
    end = now() + seconds
    answers: list[Answer] = []

    async def client() -> None:
        while (sent := now()) < end:
            code = await ask()
            answers.append(Answer(sent, sent, now(), code))  # a closed loop is never late

    await asyncio.gather(*(client() for _ in range(in_flight)))
    return answers


async def open_loop(ask: Ask, due_s: Iterable[float]) -> list[Answer]:
    """Send a request at each time of *due_s*, in seconds from now, without waiting for answers."""
    now = asyncio.get_running_loop().time
    start = now()
    answers: list[Answer] = []

    async def one(due: float) -> None:
        sent = now()
        # Counted from *due*: the time that the generator itself is late is latency, too.
        code = await ask()
        answers.append(Answer(due, sent, now(), code))

    async with asyncio.TaskGroup() as sending:
        for after in due_s:
            due = start + after
            # Even if late: without a pause, no answer would be received.
            await asyncio.sleep(max(0.0, due - now()))
            sending.create_task(one(due))
    return answers


def arrivals(kind: str, rate_per_s: float, seconds: float, seed: int) -> Iterator[float]:
    """
    Yield the times at which requests are due, in seconds from the start, below *seconds*.

    Args:
        kind: "poisson", for exponentially distributed intervals, like those of independent
            clients; or "constant".
    """
    random = np.random.default_rng(seed)
    at = 0.0
    while True:
        at += (random.exponential() if kind == "poisson" else 1.0) / rate_per_s
        if at >= seconds:
            return
        yield at
