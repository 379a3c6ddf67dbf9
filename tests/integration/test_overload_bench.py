"""`python -m bench.overload` on a real server."""

import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from bench import overload
from convoy.commands.bench.bench_settings import BenchSettings
from tests.harness import tiny
from tests.harness.server import Serve
from tests.harness.server_process import ServerProcess

QUEUE = overload.CAPACITY.in_flight
"""Places in the queue: none of the requests is refused with which the capacity is found."""

REPEATS = 60
"""Matrix products in a run, so that the generator can offer three times the capacity."""


async def test_overload(serve: Serve, tmp_path: Path) -> None:
    """
    Three times the capacity is offered: some requests are answered and the others refused, which
    the server's metrics confirm; afterwards requests are as fast as before.
    """
    slow = tiny.graph(repeats=REPEATS, poison=256)
    tiny.write(tmp_path, "slow", model=slow, macs=REPEATS * 256**3, max_batch_size=1)
    async with serve(max_queue_size=QUEUE, max_images_per_call=1) as running:
        settings = BenchSettings.model_validate(
            {"address": running.address, "model": "slow", "timeout_s": 20.0}
        )
        measured = await overload.by_client(settings, 2.0, 3, capacity_s=1.0)
        refused = running.sample("convoy_rejected_total", model="slow", reason="QUEUE_FULL")
    codes = measured["overload"]["codes"]
    print(measured, refused)
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
    assert codes["RESOURCE_EXHAUSTED"] == refused
    assert measured["offered_per_s"] == pytest.approx(3 * measured["capacity_per_s"], rel=0.5)
    assert measured["as_before_after_s"] is not None


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("h2load"), reason="h2load is not installed")
def test_overload_by_h2load(lenet_repository: Path) -> None:
    """
    All that h2load offers is in the server's metrics: by its status, or as ended in the transport.
    """
    given = Namespace(
        repository=lenet_repository,
        model="lenet5",
        times=3.0,
        seconds=1,
        deadline_ms=1,
        connections=2,
        streams=64,
    )
    with ServerProcess(lenet_repository) as server:
        measured = overload.by_h2load(server, given)
    assert measured["per_s"][overload.DROPPED] > 0
    assert measured["offered_per_s"] == pytest.approx(sum(measured["per_s"].values()), abs=0.1)
