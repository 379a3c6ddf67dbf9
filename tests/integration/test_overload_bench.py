"""`python -m bench.overload` on a real server."""

from pathlib import Path

import pytest

from bench import overload
from convoy.commands.bench.bench_settings import BenchSettings
from tests.harness import tiny
from tests.harness.server import Serve

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
