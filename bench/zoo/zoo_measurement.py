"""Figures of the networks of a zoo, measured through one server that has them all."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.zoo.training import Zoo
from convoy import AsyncClient, Client, ConvoyError
from convoy.export import data
from tests.harness.server_process import ServerProcess

CALL_IMAGES = 32
"""Images in one call while accuracy is measured."""

CALLS_IN_FLIGHT = 16
"""Calls of one image in flight while the best throughput is measured."""

SECONDS = 4.0
"""Duration of each measurement of throughput, after a second to warm up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """
    The figures of one network, measured through the server.

    Attributes:
        images: Images of the test part of the data set.
        correct: Right answers among them.
        correct_plain: Right answers among as many plain digits, if the data set comes with some.
        one_per_s: Images per second with one call in flight; None if not measured.
        best_per_s: The same with `CALLS_IN_FLIGHT` calls in flight.
    """

    images: int
    correct: int
    correct_plain: int | None = None
    one_per_s: float | None = None
    best_per_s: float | None = None


def measure(zoo: Zoo, names: Sequence[str], *, speed: bool) -> dict[str, Measured]:
    """
    Serve all artifacts of *zoo* in one process, and measure *names* one after the other.

    Args:
        speed: Measure throughput, too.
    """
    images = data.load(zoo.data)
    plain = next(iter(images.extra_tests.values()), None)
    found = {}
    with ServerProcess(zoo.repository.root) as server:
        for name in names:
            found[name] = Measured(
                images=len(images.test),
                correct=_correct(server.address, name, images.test, images.labels),
                correct_plain=None
                if plain is None
                else _correct(server.address, name, plain, images.labels),
            )
            if speed:
                one, best = (
                    asyncio.run(_throughput(server.address, name, images.test, in_flight))
                    for in_flight in (1, CALLS_IN_FLIGHT)
                )
                found[name] = replace(found[name], one_per_s=one, best_per_s=best)
            print(f"{name}: {found[name]}", flush=True)
    return found


def _correct(address: str, name: str, split: data.Split, labels: Sequence[str]) -> int:
    """Return the number of images of *split* that the server classifies correctly."""
    correct = 0
    with Client(address, timeout_s=300) as client:
        for start in range(0, len(split), CALL_IMAGES):
            part = split.part(range(start, min(start + CALL_IMAGES, len(split))))
            images = [part.image(index) for index in range(len(part))]
            answers = client.classify_batch(images, model=name, top_k=1)
            for answer, label in zip(answers, part.labels, strict=True):
                # An image that was refused is a fault of the measurement, not a wrong answer.
                if isinstance(answer, ConvoyError):
                    raise answer
                correct += answer.label == labels[label]
    return correct


async def _throughput(address: str, name: str, split: data.Split, in_flight: int) -> float:
    """Return images per second, each in a call of its own, with *in_flight* of them in flight."""
    images = itertools.cycle([split.image(index) for index in range(len(split))])
    warm = time.perf_counter() + 1.0
    end = warm + SECONDS
    done = 0

    async def caller(client: AsyncClient) -> None:
        nonlocal done
        while (now := time.perf_counter()) < end:
            await client.classify(next(images), model=name, top_k=1)
            done += now >= warm  # those that began after the warming

    async with AsyncClient(address, timeout_s=300) as client:
        await asyncio.gather(*(caller(client) for _ in range(in_flight)))
        return done / (time.perf_counter() - warm)
