import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from tests.harness.server_process import ServerProcess
from tests.harness.transports import FRONTS, TRANSPORTS
from tests.soak.clients import CLIENTS
from tests.soak.ledger import CANCELLED, EXPIRED, OK
from tests.soak.run import FREQUENT, Plan, soak
from tests.soak.samples import LEAST_SAMPLES, Held, Samples

BULK = {"steady", "versions", "deadlines", "resets", "crowd", "latency"}
"""Kinds of calls beside those of `CLIENTS`, of which one sends nothing."""


@pytest.mark.slow
@pytest.mark.parametrize("transport", [*TRANSPORTS, FRONTS])
async def test_short_soak(transport: str) -> None:
    """
    Every call of a mixed load is accounted for, by clients and server alike; nothing leaks.
    """
    fronts = 2 if transport == FRONTS else 0
    plan = Plan("grpcio" if fronts else transport, seconds=5, fronts=fronts)
    result = await soak(plan, Console(emoji=False, quiet=True))
    assert result.problems == []
    table = result.ledger.by_kind()
    assert len(table) == len(CLIENTS) - 1 + len(BULK)
    assert all(row["sent"] for row in table.values())
    ends = {code for _, _, code in +result.ledger.ended}
    assert ends >= {OK, CANCELLED, EXPIRED, "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"}
    assert {turn.in_flight for turn in result.turns} == {1, 16, 64}


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_faults_are_found(transport: str) -> None:
    """
    A wrong value, a version that was not asked for, and a call that is not counted are found.
    """
    plan = Plan(transport, requests=8000, warm_up_s=0, program=("-m", "tests.soak.saboteur"))
    found = "\n".join((await soak(plan, Console(emoji=False, quiet=True))).problems)
    assert re.search(r"\d+ x (steady|crowd): OK said to be version 1's; 1 rows: \n", found)
    other = r"x (versions|infer): OK .*said to be version (\d)'s; \d rows: image \d+ by version \2"
    assert re.search(other, found)
    # By codes alone it may hide among the calls whose clients do not know how they ended.
    assert re.search(r"inferred; .* have a duration", found)


@pytest.mark.slow
def test_ctrl_c_ends_it_with_its_ledger() -> None:
    """
    A soak of many requests says how long it will take; Ctrl-C ends it with its account.
    """
    command = [sys.executable, "-m", "tests.soak", "--requests", "1e8"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
    assert process.stdout is not None
    with process, process.stdout as output:
        assert "h left" in next(output)  # the first line of progress
        os.killpg(process.pid, signal.SIGINT)
        told = output.read()
    assert "balanced; nothing leaks" in told
    assert process.returncode == 0


def test_frequent_messages_are_left_out(lenet_repository: Path) -> None:
    """
    Lines of a server's log that would fill the memory over hours are not kept; the others are.
    """
    with ServerProcess(lenet_repository, left_out=FREQUENT) as server:
        assert server.find("ready")
        assert not server.find("model loaded")


@pytest.mark.parametrize(
    ("last_mb", "unsure", "leaks"), [(104.0, 0, False), (106.0, 0, True), (106.0, 10_000, False)]
)
def test_memory_growth(last_mb: float, unsure: int, leaks: bool) -> None:
    """
    More than 5 % from the second tenth to the last is a leak, but for what grpcio is known to lose.
    """
    samples = Samples(psutil.Process())
    samples.quiet = [Held(90, 10, 5), Held(100, 12, 5)]
    tenth = LEAST_SAMPLES // 10
    samples.loaded = [Held(mb, 10, 5) for mb in [50.0] * tenth + [100.0] * 8 * tenth]
    samples.loaded += [Held(last_mb, 10, 5)] * tenth
    assert bool(samples.problems(unsure)) is leaks


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
