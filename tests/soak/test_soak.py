import asyncio
import os
import signal
import subprocess
import sys

import grpc
import psutil
import pytest
from rich.console import Console

from tests.harness.transports import TRANSPORTS
from tests.soak.clients import CLIENTS
from tests.soak.ledger import Ledger, Outcome
from tests.soak.run import soak
from tests.soak.samples import LEAST_SAMPLES, Held, Samples

METRICS = 'convoy_requests_total{{model="m",method="ModelInfer",code="{code}"}} {count}\n'


def metrics(**counts: int) -> str:
    """Return the metrics of a server that counted so many calls by their codes."""
    lines = (METRICS.format(code=code, count=count) for code, count in counts.items())
    return "# TYPE convoy_requests_total counter\n" + "".join(lines)


def ledger(**ended: int) -> Ledger:
    """Requests of one method that ended so, each once."""
    made = Ledger()
    for outcome, count in ended.items():
        made.sent["kind", "ModelInfer"] += count
        made.end("kind", "ModelInfer", Outcome(outcome), "why", count)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_short_soak(transport: str) -> None:
    """
    Every request of a mixed load is accounted for, by clients and server alike; nothing leaks.
    """
    result = await soak(5, transport=transport, seed=0, console=Console(quiet=True))
    assert result.problems == []
    table = result.ledger.by_kind()
    assert len(table) == len(CLIENTS)
    assert all(row["sent"] for row in table.values())
    assert {outcome for _, _, outcome in +result.ledger.ended} == {*Outcome} - {Outcome.FAILED}


@pytest.mark.slow
def test_ctrl_c_ends_it_with_its_ledger() -> None:
    """
    Ctrl-C ends a soak early, with the account of what was done.
    """
    command = [sys.executable, "-m", "tests.soak", "--minutes", "10"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
    assert process.stdout is not None
    with process, process.stdout as output:
        assert "sent" in next(output)  # the first line of progress
        os.killpg(process.pid, signal.SIGINT)
        told = output.read()
    assert process.returncode == 0
    assert "balanced; nothing leaks" in told


def test_balanced() -> None:
    """
    Counts agree; those whose client left may be on either side of the server's books.
    """
    account = ledger(answered=5, refused=2, expired=1, cancelled=3)
    assert account.problems(metrics(OK=5, NOT_FOUND=2)) == []
    assert (
        account.problems(metrics(OK=6, INVALID_ARGUMENT=2, CANCELLED=2, DEADLINE_EXCEEDED=1)) == []
    )


@pytest.mark.parametrize(
    "server",
    [
        {},
        {"OK": 4, "NOT_FOUND": 2},
        {"OK": 6, "NOT_FOUND": 2},
        {"OK": 5, "NOT_FOUND": 1},
        {"OK": 5, "NOT_FOUND": 2, "INTERNAL": 1},
    ],
)
def test_server_counted_otherwise(server: dict[str, int]) -> None:
    """
    A call that one side has and the other has not is a problem.
    """
    assert len(ledger(answered=5, refused=2).problems(metrics(**server))) == 1


def test_failures_are_problems() -> None:
    """
    A failure is reported with its reason, even if the server's counts agree.
    """
    found = ledger(answered=1, failed=2).problems(metrics(OK=1, INTERNAL=2))
    assert found == ["failed: 2 x kind: why"]


def test_lost_request() -> None:
    """
    A request that never ended is a problem.
    """
    account = ledger(answered=1, cancelled=1)
    account.sent["kind", "ModelInfer"] += 1
    assert "not every request ended once" in account.problems(metrics(OK=2))[0]


async def test_outcomes() -> None:
    """
    A request ends as its code says; an unexpected error is a failure, and goes no further.
    """
    account = Ledger()
    for code, trailing in (
        (grpc.StatusCode.DEADLINE_EXCEEDED, {}),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, {"error-reason": "QUEUE_FULL"}),
        (grpc.StatusCode.UNAVAILABLE, {}),
        (grpc.StatusCode.INTERNAL, {"error-reason": "INTERNAL"}),
    ):
        with account.request("kind", "M"):
            metadata = grpc.aio.Metadata(*trailing.items())
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata)
    with account.request("kind", "M"):
        raise ValueError("class 3, not 4")
    with pytest.raises(asyncio.CancelledError), account.request("kind", "M"):
        raise asyncio.CancelledError
    outcomes = {outcome.value: count for (_, _, outcome), count in account.ended.items()}
    assert outcomes == {"expired": 1, "refused": 1, "failed": 3, "cancelled": 1}


@pytest.mark.parametrize(("last_mb", "leaks"), [(104.0, False), (106.0, True)])
def test_memory_growth(last_mb: float, leaks: bool) -> None:
    """
    More than 5 % from the second tenth to the last is a leak; what comes before is warming up.
    """
    samples = Samples(psutil.Process())
    samples.quiet = [Held(90, 10, 5), Held(100, 12, 5)]
    tenth = LEAST_SAMPLES // 10
    samples.loaded = [Held(mb, 10, 5) for mb in [50.0] * tenth + [100.0] * 8 * tenth]
    samples.loaded += [Held(last_mb, 10, 5)] * tenth
    assert bool(samples.problems()) is leaks


def test_leaked_descriptors_and_threads() -> None:
    """
    Resources that are still held after the load are a leak.
    """
    samples = Samples(psutil.Process())
    samples.quiet = [Held(90, 10, 5), Held(90, 100, 50)]
    assert len(samples.problems()) == 2


def test_samples_of_this_process() -> None:
    """
    A running process holds memory, descriptors and threads.
    """
    assert min(Samples(psutil.Process()).now()) > 0
