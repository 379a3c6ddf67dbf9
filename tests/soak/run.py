"""Puts the mixed load on a server of its own for a while and prints the result."""

from __future__ import annotations

import asyncio
import math
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
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
from tests.soak import checksums, latency
from tests.soak.bulk_process import BulkProcess
from tests.soak.clients import CLIENTS, Client, Soak
from tests.soak.flow import cases
from tests.soak.ledger import CANCELLED, EXPIRED, OK, Ledger
from tests.soak.samples import Samples
from tests.soak.server_counts import ServerCounts
from tests.soak.wire import LOST

WARM_UP_S = 3.0
SETTLE_S = 2.0
PROGRESS_S = 10.0

OPTIONS = (
    *("--model-control-mode", "explicit", "--load-model", "*"),
    *("--max-queue-size", "64", "--max-images-per-call", "32", "--log-level", "info"),
    *("--device", "cpu"),
)

FREQUENT = {"request", "model loaded", "model unloaded"}
"""Messages of which the server writes some each second: hours of them do not fit into memory."""


COLUMN_OF = {
    **{OK: "answered", EXPIRED: "expired", CANCELLED: "cancelled", LOST: "lost"},
    **dict.fromkeys(("INTERNAL", "UNKNOWN"), "failed"),
}
COLUMNS = ("answered", "refused", "expired", "cancelled", "lost", "failed")
"""Columns of the table; a code that `COLUMN_OF` does not have is a refusal."""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    The length of a soak: until either limit is reached, or until SIGINT.

    Attributes:
        requests: Number of calls.
        fronts: Number of front processes.
        warm_up_s: Load before the first quiet moment: pools and caches have their size then. With
            0 there is no such moment to compare with.
        program: The server, other than convoy itself.
    """

    transport: str
    seconds: float = math.inf
    requests: float = math.inf
    seed: int = 0
    fronts: int = 0
    warm_up_s: float = WARM_UP_S
    program: Sequence[str] = ("-m", "convoy")


@dataclass(slots=True)
class Models:
    """The models that are asked: one stays, one changes its version, one comes and goes."""

    steady: checksums.Checksums
    reloaded: checksums.Checksums
    other: checksums.Checksums

    @classmethod
    def write(cls, folder: Path) -> Models:
        """Write them into a repository, beside the model that mutated requests ask."""
        add_version(folder, MODEL)
        return cls(
            checksums.write(folder, "steady"),
            checksums.write(folder, "reloaded", versions=2),
            checksums.write(folder, "other"),
        )


class Result(NamedTuple):
    """
    The result of a soak.

    Attributes:
        seconds: Time of the load that was measured.
        turns: The latencies after it.
        problems: What is not as it should be.
    """

    ledger: Ledger
    samples: Samples
    seconds: float
    turns: Sequence[latency.Turn]
    problems: list[str]


@dataclass(slots=True)
class Run:
    """
    One soak.

    Attributes:
        ended: Set when it is to end early.
    """

    plan: Plan
    server: ServerProcess
    models: Models
    console: Console
    samples: Samples
    ledger: Ledger = field(default_factory=Ledger)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    bulk: BulkProcess | None = None

    @property
    def sent(self) -> int:
        """The calls that were sent so far."""
        return self.ledger.sent.total() + (self.bulk.ledger.sent.total() if self.bulk else 0)

    async def run(self) -> Result:
        """Warm up, load, measure latencies, and compare the accounts."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self.ended.set)
        if self.plan.warm_up_s:
            await self._load(self.plan.warm_up_s, math.inf)
        started = time.monotonic()
        await self._load(self.plan.seconds, self.plan.requests)
        seconds = time.monotonic() - started
        turns = await asyncio.to_thread(self._latencies)
        counts = ServerCounts.read(self.server.get("/metrics"))
        unsure = self.ledger.unsure if self.plan.transport == "grpcio" else 0
        problems = [*self.ledger.problems(counts), *self.samples.problems(unsure)]
        problems += latency.problems(turns)
        lines = self.server.log
        problems += [f"log: {line}" for line in lines if line.get("level", "error") == "error"]
        return Result(self.ledger, self.samples, seconds, turns, problems)

    async def _load(self, seconds: float, requests: float) -> None:
        """Keep every client at work for so long, and settle."""
        settings = ConnectionSettings(address=self.server.address)
        self.samples.loaded.clear()
        async with (
            open_channel(settings) as channel,
            open_channel(settings) as hasty,
            BulkProcess(self.server.address, self.models.steady, self.models.reloaded) as self.bulk,
        ):
            shared = Soak(
                ledger=self.ledger,
                processes=self.samples.processes,
                address=self.server.address,
                url=self.server.url,
                channel=channel,
                hasty=hasty,
                may_lose=self.plan.transport == "native",
                dice=random.Random(self.plan.seed),
                reloaded=self.models.reloaded,
                other=self.models.other,
            )
            await self._keep_busy(shared, seconds, requests)
        self.ledger.add(self.bulk.ledger)
        self.bulk = None
        await asyncio.sleep(SETTLE_S)
        self.samples.quiet.append(self.samples.now())

    async def _keep_busy(self, shared: Soak, seconds: float, requests: float) -> None:
        done = asyncio.Event()
        watching = [asyncio.create_task(task) for task in (self.samples.keep(), self._tell())]
        clients = [
            asyncio.create_task(_again_and_again(client, shared, rest_s, done))
            for client, (count, rest_s) in CLIENTS.items()
            for _ in range(count)
        ]
        enough = asyncio.create_task(self._enough(self.sent + requests))
        early = asyncio.create_task(self.ended.wait())
        await asyncio.wait({enough, early}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        done.set()
        await asyncio.gather(*clients)
        for task in (enough, early, *watching):
            task.cancel()

    async def _enough(self, limit: float) -> None:
        """Wait until so many calls were sent."""
        assert self.bulk is not None
        while self.sent < limit:
            await self.bulk.report()

    async def _tell(self) -> None:
        """Print the progress now and then."""
        started, before = time.monotonic(), self.sent
        while True:
            await asyncio.sleep(PROGRESS_S)
            passed_s, held = time.monotonic() - started, self.samples.now()
            per_s = (self.sent - before) / passed_s
            left = (self.plan.requests - self.sent) / per_s
            until = f", about {left / 3600:.1f} h left" if left < math.inf else ""
            self.console.print(
                f"{passed_s:.0f} s: {self.sent:,} sent, {per_s:,.0f}/s{until}; "
                f"{held.resident_mb} MB, {held.descriptors} descriptors, {held.threads} threads"
            )

    def _latencies(self) -> list[latency.Turn]:
        asked = cases("latency", self.models.steady)
        metrics = lambda: self.server.get("/metrics")  # noqa: E731
        return latency.measure(self.server.address, self.ledger, asked, metrics)


async def soak(plan: Plan, console: Console) -> Result:
    """Start a server and load it as planned."""
    with tempfile.TemporaryDirectory() as folder:
        models = Models.write(Path(folder))
        options = (
            *(*OPTIONS, "--transport", plan.transport),
            *("--front-processes", str(plan.fronts)),
        )
        with ServerProcess(
            Path(folder), *options, program=plan.program, left_out=FREQUENT
        ) as server:
            samples = Samples(psutil.Process(server.process.pid))
            result = await Run(plan, server, models, console, samples).run()
            if code := server.stop():
                result.problems.append(f"the server ended with {code}")
            return result


async def _again_and_again(
    client: Client, shared: Soak, rest_s: float, done: asyncio.Event
) -> None:
    while not done.is_set():
        await client(shared)
        with suppress(TimeoutError):
            async with asyncio.timeout(rest_s):
                await done.wait()


def show(result: Result, console: Console) -> None:
    """Print the ledger and what the server held."""
    rows = result.ledger.by_kind()
    table = Table("kind", "sent", *COLUMNS)
    for kind, row in [*rows.items(), ("all", sum(rows.values(), Counter()))]:
        shown = Counter(sent=row["sent"])
        for code in row.keys() - {"sent"}:
            shown[COLUMN_OF.get(code, "refused")] += row[code]
        table.add_row(kind, *(f"{shown[column]:,}" for column in ("sent", *COLUMNS)))
    console.print(table)
    for turn in result.turns:
        console.print(f"{turn}")
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
