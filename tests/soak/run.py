"""Puts the mixed load on a server of its own for a while and prints the result."""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from convoy.commands.bench.target import open_channel
from convoy.commands.connection import ConnectionSettings
from tests.fuzz.seeds import MODEL
from tests.harness.lenet import add_version
from tests.harness.server_process import ServerProcess
from tests.soak.clients import CLIENTS, OTHER, Client, Soak
from tests.soak.ledger import Ledger, Outcome
from tests.soak.samples import Samples

WARM_UP_S = 5.0
"""Load before the first quiet moment: pools and caches have their size then."""

SETTLE_S = 3.0
PROGRESS_S = 10.0

OPTIONS = (
    *("--model-control-mode", "explicit", "--load-model", "*"),
    *("--max-queue-size", "64", "--max-images-per-call", "32", "--log-level", "info"),
)


class Result(NamedTuple):
    """
    The result of a soak.

    Attributes:
        problems: What is not as it should be.
    """

    ledger: Ledger
    samples: Samples
    seconds: float
    problems: list[str]


async def soak(seconds: float, *, transport: str, seed: int, console: Console) -> Result:
    """Start a server and load it for *seconds*, or until SIGINT."""
    with tempfile.TemporaryDirectory() as folder:
        for name in (MODEL, MODEL, OTHER):
            add_version(Path(folder), name)
        with ServerProcess(Path(folder), *OPTIONS, "--transport", transport) as server:
            result = await _soak(server, seconds, seed, console)
            if code := server.stop():
                result.problems.append(f"the server ended with {code}")
            return result


async def _soak(server: ServerProcess, seconds: float, seed: int, console: Console) -> Result:
    ledger, dice = Ledger(), random.Random(seed)
    samples = Samples(psutil.Process(server.process.pid))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    started = time.monotonic()
    for duration in (WARM_UP_S, seconds):
        async with open_channel(ConnectionSettings(address=server.address)) as channel:
            shared = Soak(ledger, server.address, server.url, channel, dice)
            samples.loaded.clear()
            await _load(shared, samples, duration, ended, console)
        await asyncio.sleep(SETTLE_S)
        samples.quiet.append(samples.now())
    problems = [*ledger.problems(server.get("/metrics")), *samples.problems()]
    problems += [f"log: {line}" for line in server.log if line.get("level", "error") == "error"]
    return Result(ledger, samples, time.monotonic() - started, problems)


async def _load(
    shared: Soak, samples: Samples, seconds: float, ended: asyncio.Event, console: Console
) -> None:
    """Keep every client at work until the time is over, or *ended* is set."""
    tasks = [
        asyncio.create_task(samples.keep()),
        asyncio.create_task(_tell(shared, samples, console)),
    ]
    done = asyncio.Event()
    clients = [
        asyncio.create_task(_again_and_again(client, shared, done))
        for client, count in CLIENTS.items()
        for _ in range(count)
    ]
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ended.wait()
    done.set()
    await asyncio.gather(*clients)
    for task in tasks:
        task.cancel()


async def _again_and_again(client: Client, shared: Soak, done: asyncio.Event) -> None:
    while not done.is_set():
        await client(shared)


async def _tell(shared: Soak, samples: Samples, console: Console) -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS_S)
        held = samples.now()
        console.print(
            f"{time.monotonic() - started:.0f} s: {shared.ledger.sent.total():,} sent, "
            f"{held.resident_mb} MB, {held.descriptors} descriptors, {held.threads} threads"
        )


def show(result: Result, console: Console) -> None:
    """Print the ledger and what the server held."""
    columns = ["sent", *Outcome]
    table = Table("kind", *columns)
    rows = result.ledger.by_kind()
    for kind, row in rows.items():
        table.add_row(kind, *(f"{row[column]:,}" for column in columns))
    table.add_section()
    sums = {column: sum(row[column] for row in rows.values()) for column in columns}
    table.add_row("all", *(f"{sums[column]:,}" for column in columns))
    console.print(table)
    _show_held(result, console)
    for problem in result.problems:
        console.print(problem, markup=False, highlight=False)
    console.print("unbalanced, or leaking" if result.problems else "balanced; nothing leaks")


def _show_held(result: Result, console: Console) -> None:
    growth = result.samples.growth()
    told = "too short to tell" if growth is None else f"{growth:+.1%}"
    console.print(f"{result.seconds:.0f} s; memory from the second tenth to the last: {told}")
    for moment, held in zip(("before", "after"), result.samples.quiet, strict=False):
        console.print(f"quiet, {moment}: {_named(held)}")


def _named(held: Sequence[float]) -> str:
    return "{} MB, {} descriptors, {} threads".format(*held)
