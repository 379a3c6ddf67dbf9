"""The latency of the version that serves, with and without a shadow: `python -m bench.shadow_cost`.

Offers a share of the capacity to one server, in pairs of rounds with the same times of arrival: one
with a copy of the model as its shadow, and one without. Pairs alternate in their order, so that a
machine that becomes slower affects both. Prints JSON: p50 and p99 of each round, the ratio of p50
with the 95 % interval of the median of the pairs, and by how much p99 grew, to be compared with the
duration of a run of the shadow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.bench.load_results import OK
from convoy.commands.bench.loops import arrivals, closed_loop, open_loop
from convoy.commands.bench.target import Sender, find
from convoy.commands.measurement.intervals import of_median
from convoy.pb.convoy.v1 import shadow_pb2 as pb
from convoy.pb.convoy.v1.shadow_pb2_grpc import ShadowServiceStub
from tests.harness.lenet import LENET, add_version
from tests.harness.server_process import ServerProcess

MODEL = "served"
"""Name of the model, of which the repository of the bench has two equal versions."""

IN_FLIGHT = 8
"""Requests in flight while the capacity is measured."""

SETTLE_S = 1.0
"""Time before each round in which the queues become empty, in seconds."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.shadow_cost", description=__doc__)
    parser.add_argument(
        "--artifact", type=Path, default=LENET, help="Serve the version in this folder."
    )
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0, help="Send requests for this long.")
    parser.add_argument("--load", type=float, default=0.7, help="Offer this share of the capacity.")
    parser.add_argument("--share", type=float, default=0.1, help="Run the shadow on this share.")
    parser.add_argument("--front-processes", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            add_version(Path(folder), MODEL, given.artifact)
        options = ("--model-control-mode", "explicit", "--load-model", MODEL)
        policy = ("--version-policy", f"{MODEL}=specific:1")
        fronts = ("--front-processes", str(given.front_processes))
        with ServerProcess(Path(folder), *options, *policy, *fronts) as server:
            measured = asyncio.run(_measure(server.address, given))
    about = {name: str(value) for name, value in vars(given).items()}
    print(json.dumps(about | measured, indent=2))
    return 0


async def _measure(address: str, given: argparse.Namespace) -> dict[str, Any]:
    settings = BenchSettings.model_validate({"address": address, "model": MODEL})
    target = await find(settings, [])
    async with Sender(target, settings) as send, grpc.aio.insecure_channel(address) as channel:
        found = await closed_loop(send, IN_FLIGHT, given.seconds)
        rate_per_s = given.load * sum(answer.code == OK for answer in found) / given.seconds
        shadows = ShadowServiceStub(channel)
        pairs = []
        for pair in range(given.pairs):
            rounds = {}
            for shadowed in (pair % 2 == 0, pair % 2 == 1):
                due = list(arrivals("poisson", rate_per_s, given.seconds, seed=pair))
                rounds[shadowed] = await _round(send, shadows, due, given.share * shadowed)
            pairs.append({"without": rounds[False], "with": rounds[True]})
    return {"offered_per_s": round(rate_per_s, 1), **_summary(pairs), "rounds": pairs}


async def _round(send: Sender, shadows: Any, due: Sequence[float], share: float) -> dict[str, Any]:
    """Offer requests at the times *due*; return their latencies in ms, and the shadow's counts."""
    if share:
        await shadows.StartShadow(pb.StartShadowRequest(model=MODEL, version=2, share=share))
    await asyncio.sleep(SETTLE_S)
    answers = await open_loop(send, due)
    if failed := [answer.code for answer in answers if answer.code != OK]:
        raise RuntimeError(f"{len(failed)} requests failed: {failed[0]}")
    took_ms = [1000 * (answer.done_s - answer.due_s) for answer in answers]
    p50, p99 = np.percentile(took_ms, (50, 99))
    figures: dict[str, Any] = {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}
    if share:
        shadow = (await shadows.GetShadow(pb.GetShadowRequest(model=MODEL))).shadow
        await shadows.StopShadow(pb.StopShadowRequest(model=MODEL))
        figures |= {
            "compared": shadow.agreement.count,
            "agreement": shadow.agreement.value,
            "dropped": shadow.dropped_image_count,
            "run_p50_ms": round(1000 * shadow.run_p50_seconds.value, 3),
            "run_p99_ms": round(1000 * shadow.run_p99_seconds.value, 3),
        }
    return figures


def _summary(pairs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ratios = [pair["with"]["p50_ms"] / pair["without"]["p50_ms"] for pair in pairs]
    growth_ms = [pair["with"]["p99_ms"] - pair["without"]["p99_ms"] for pair in pairs]
    runs_ms = [pair["with"]["run_p50_ms"] for pair in pairs]
    return {
        "p50_ratio": round(float(np.median(ratios)), 3),
        "p50_ratio_interval": [round(end, 3) for end in of_median(ratios)],
        "p99_growth_ms": round(float(np.median(growth_ms)), 3),
        "p99_growth_ms_interval": [round(end, 3) for end in of_median(growth_ms)],
        "shadow_run_ms": round(float(np.median(runs_ms)), 3),
    }


if __name__ == "__main__":
    sys.exit(main())
