"""`python -m bench.overload` on a real server."""

from pathlib import Path

import pytest

from bench import overload
from convoy.commands.bench.bench_settings import BenchSettings
from tests.harness.server import Serve


async def test_overload(
    serve: Serve, lenet_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The capacity is found, three times as much is offered, and every request is accounted for.
    """
    monkeypatch.setattr(overload, "CAPACITY_S", 0.3)
    monkeypatch.setattr(overload, "AS_BEFORE", 1000.0)
    async with serve(model_repository=lenet_repository) as running:
        settings = BenchSettings.model_validate(
            {"address": running.address, "model": "lenet5", "timeout_s": 5.0}
        )
        measured = await overload.measure(settings, 0.5, 3)
    told = measured["overload"]
    assert measured["capacity_per_s"] > 0
    assert sum(told["codes"].values()) == round(measured["offered_per_s"] * 0.5)
    assert told["answered_ms"]["p50"] <= told["answered_ms"]["max"]
    assert measured["as_before_after_s"] is not None
