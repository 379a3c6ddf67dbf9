"""A server under three times its capacity: `python -m bench.overload`; prints JSON.

Finds the capacity in a closed loop, then offers a multiple of it with deadlines. One of two
generators makes the load:

* `h2load` costs the server's cores little, keeps its pace and does not wait. It knows no deadlines,
  so the answers are counted by the server's metrics. Small networks are answered faster than the
  same cores can offer three times as many: `--apart` gives server and load a core each.
* `client` is a Python client. It measures what a client sees: latencies of answers and of refusals,
  and how long after the overload a request is as fast as before it. It takes much of 2 cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from bench.race.h2load import Request, grpc_request, measure
from bench.race.loads import Load
from bench.race.networks import write_networks
from bench.race.raced_model import INFER_PATH, Model
from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.bench.load_results import OK, Answer
from convoy.commands.bench.loops import arrivals, closed_loop, open_loop
from convoy.commands.bench.target import Sender, find
from convoy.service.machine.resources import usable_cpus
from convoy.service.rpc.backlog import INTERVAL_S, SETTLING_SAMPLES
from tests.harness.server_process import ServerProcess

ROOT = Path("build/race/models")
CAPACITY = Load(connections=4, streams=2)
"""Requests in flight while the capacity is measured, with either generator."""

CAPACITY_S = 6.0
QUIET_REQUESTS = 50
"""Requests of the client, one after the other, that show the usual latency."""

AS_BEFORE = 2.0
"""The server has recovered when a request takes at most this multiple of the usual latency."""

RECOVERY_TIMEOUT_S = 30.0

REFUSED = "RESOURCE_EXHAUSTED"
DROPPED = "no handler"
"""Calls that ended in the transport, beside those that ended with a status."""

DURATION = "convoy_request_duration_seconds_bucket"
QUICK_S = 0.005


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--load", choices=("h2load", "client"), default="h2load")
    parser.add_argument("--repository", type=Path, default=ROOT)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--times", type=float, default=3.0, help="multiple of the capacity")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--deadline-ms", type=int, default=1000)
    parser.add_argument("--transport", choices=("grpcio", "native"), default="native")
    parser.add_argument("--connections", type=int, default=16, help="of h2load")
    parser.add_argument("--streams", type=int, default=64, help="in flight on each connection")
    parser.add_argument("--apart", action="store_true", help="a core for server and for load")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if given.apart and len(cores) < 2:
        parser.error("--apart needs two cores")
    if given.repository == ROOT:
        write_networks(ROOT, Console(emoji=False, stderr=True))
    # Apart, neither side can take processor time from the other.
    server_cores, load_cores = (cores[:1], cores[1:2]) if given.apart else (cores, cores)
    options = ("--model-control-mode", "explicit", "--load-model", given.model)
    os.sched_setaffinity(0, server_cores)  # the server inherits it
    with ServerProcess(given.repository, *options, "--transport", given.transport) as server:
        os.sched_setaffinity(0, load_cores)
        measured = by_h2load(server, given) if given.load == "h2load" else _by_client(server, given)
    about = {name: getattr(given, name) for name in ("model", "transport", "load", "apart")}
    print(json.dumps(about | measured, indent=2))
    return 0


def by_h2load(server: ServerProcess, given: argparse.Namespace) -> dict[str, Any]:
    """Overload *server* with h2load and read its metrics."""
    model = Model.read(given.repository, given.model, threads=usable_cpus())
    message = model.message().SerializeToString()
    with grpc.insecure_channel(server.address) as channel:
        request = grpc_request(channel, f"http://{server.address}", INFER_PATH, message)
    capacity = measure(request, CAPACITY, CAPACITY_S).per_s
    before, quick_before = _metrics(server, given.model)
    _run_h2load(request, given.times * capacity, given)
    # Calls that ended in the transport are counted once no handler can have seen them.
    time.sleep(3 * SETTLING_SAMPLES * INTERVAL_S)
    after, quick_after = _metrics(server, given.model)
    per_s = {code: round((after[code] - before.get(code, 0)) / given.seconds, 1) for code in after}
    figures = {
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(sum(per_s.values()), 1),
        "per_s": per_s,
        "answered_in_time_by_capacity": round(per_s["OK"] / capacity, 3),
    }
    refused = after.get(REFUSED, 0) - before.get(REFUSED, 0)
    # The metric does not separate refusals from answers, so it tells only where no answer is quick.
    if refused and capacity < 1 / QUICK_S:
        figures["refused_within_5_ms"] = round((quick_after - quick_before) / refused, 4)
    return figures


def _run_h2load(request: Request, per_s: float, given: argparse.Namespace) -> None:
    headers = {**request.headers, "grpc-timeout": f"{given.deadline_ms}m"}
    with tempfile.NamedTemporaryFile() as body:
        body.write(request.body)
        body.flush()
        command = ["h2load", "--threads", "1", "--clients", str(given.connections)]
        command += ["--max-concurrent-streams", str(given.streams)]
        command += ["--duration", f"{given.seconds}s"]
        command += ["--rps", str(round(per_s / given.connections)), "--data", body.name]
        for name, value in headers.items():
            command += ["-H", f"{name}:{value}"]
        subprocess.run([*command, request.url], check=True, capture_output=True)


def _metrics(server: ServerProcess, model: str) -> tuple[dict[str, float], float]:
    """
    Return the calls of *model* so far by status, and how many of them took at most 5 ms.

    Calls that no handler saw are those of all models.
    """
    codes: dict[str, float] = {}
    quick = 0.0
    for family in text_string_to_metric_families(server.get("/metrics")):
        for sample in family.samples:
            if sample.name == "convoy_transport_dropped_calls_total":
                codes[DROPPED] = sample.value
            if sample.labels.get("model") != model:
                continue
            if sample.name == "convoy_requests_total":
                codes[sample.labels["code"]] = sample.value
            elif sample.name == DURATION and float(sample.labels["le"]) == QUICK_S:
                quick = sample.value
    return codes, quick


def _by_client(server: ServerProcess, given: argparse.Namespace) -> dict[str, Any]:
    settings = BenchSettings.model_validate(
        {
            "address": server.address,
            "model": given.model,
            "timeout_s": given.deadline_ms / 1000,
        }
    )
    return asyncio.run(by_client(settings, given.seconds, given.times))


async def by_client(
    settings: BenchSettings, seconds: float, times: float, capacity_s: float = CAPACITY_S
) -> dict[str, Any]:
    """
    Overload the server at `settings.address` with a Python client, and watch it recover.

    Args:
        settings: Address, model and deadline of the requests.
        seconds: Duration of the overload.
        times: Multiple of the capacity that is offered.
        capacity_s: Time for which the capacity is measured, in seconds.
    """
    target = await find(settings, [])
    async with Sender(target, settings) as send:
        quiet_s = [await _seconds(send) for _ in range(QUIET_REQUESTS)]
        found = await closed_loop(send, CAPACITY.in_flight, capacity_s)
        capacity = sum(answer.code == OK for answer in found) / capacity_s
        due = arrivals("poisson", times * capacity, seconds, settings.seed)
        # The load does not wait for answers: otherwise a slow server would be offered less.
        answers = await open_loop(send, due)
        recovered_s = await _recovery(send, AS_BEFORE * float(np.median(quiet_s)))
    return {
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(len(answers) / seconds, 1),
        "overload": _figures(answers, seconds),
        "as_before_after_s": recovered_s,
        "failures": send.failures,
    }


async def _seconds(send: Sender) -> float:
    started = time.perf_counter()
    if (code := await send()) != OK:
        raise RuntimeError(f"a request without other load ended with {code}")
    return time.perf_counter() - started


async def _recovery(send: Sender, normal_s: float) -> float | None:
    """Return the seconds until a request takes at most *normal_s*, or None if none does."""
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < RECOVERY_TIMEOUT_S:
        sent = time.perf_counter()
        # A refusal counts as not recovered, however quick it is.
        if await send() == OK and time.perf_counter() - sent <= normal_s:
            return round(passed, 2)
    return None


def _figures(answers: Sequence[Answer], seconds: float) -> dict[str, Any]:
    codes = Counter(answer.code for answer in answers)
    lag_s = [answer.sent_s - answer.due_s for answer in answers]
    return {
        "codes": dict(codes),
        "answered_per_s": round(codes[OK] / seconds, 1),
        "answered_ms": _percentiles_ms(answers, OK),
        "refused_ms": _percentiles_ms(answers, REFUSED),
        # A large lag means that the generator was at its limit, which makes refusals look slow.
        "lag_p99_ms": round(float(np.percentile(lag_s, 99)) * 1000, 2),
    }


def _percentiles_ms(answers: Sequence[Answer], code: str) -> dict[str, float]:
    """Return the latencies of the requests that ended with *code*; empty if none did."""
    took_s = [answer.done_s - answer.sent_s for answer in answers if answer.code == code]
    if not took_s:
        return {}
    names = ("p50", "p90", "p99", "max")
    values = np.percentile(took_s, (50, 90, 99, 100)) * 1000
    return {name: round(float(value), 2) for name, value in zip(names, values, strict=True)}


if __name__ == "__main__":
    sys.exit(main())
