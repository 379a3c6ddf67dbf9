"""Three times what the server can do, with deadlines: `python -m bench.race.overload`; prints JSON.

The load is h2load's, which costs the server's cores little; it keeps its pace and does not wait. It
knows no deadline itself: what the server says was answered in time is taken from its metrics.
Small networks are answered faster than the same cores can offer three times as many: `--apart`
gives the server one core and the load another.
`python -m bench.overload` sees the same as a client does, at a client's cost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from bench.race.h2load import Request, measure
from bench.race.loads import Load
from bench.race.model import INFER_PATH, Model, framed
from bench.race.networks import write_networks
from convoy.service.resources import usable_cpus
from tests.harness.server_process import ServerProcess

ROOT = Path("build/race/models")
CAPACITY = Load(connections=4, streams=2)
CAPACITY_S = 6.0

REFUSED = "RESOURCE_EXHAUSTED"
DURATION = "convoy_request_duration_seconds_bucket"
QUICK_S = 0.005


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--times", type=float, default=3.0, help="capacity")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--deadline-ms", type=int, default=1000)
    parser.add_argument("--transport", choices=("grpcio", "native"), default="native")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--streams", type=int, default=64, help="at once, of each connection")
    parser.add_argument("--apart", action="store_true", help="a core for each side")
    given = parser.parse_args()
    write_networks(ROOT, Console(stderr=True))
    model = Model.read(ROOT, given.model, threads=usable_cpus())
    options = ("--model-control-mode", "explicit", "--load-model", given.model)
    all_cores = sorted(os.sched_getaffinity(0))
    if given.apart and len(all_cores) < 2:
        parser.error("--apart needs two cores")
    servers, loads = (all_cores[:1], all_cores[1:2]) if given.apart else (all_cores, all_cores)
    os.sched_setaffinity(0, servers)  # of what is started from here on
    with ServerProcess(ROOT, *options, "--transport", given.transport) as server:
        os.sched_setaffinity(0, loads)
        body = framed(model.message().SerializeToString())
        request = Request(f"http://{server.address}{INFER_PATH}", body)
        capacity = measure(request, CAPACITY, CAPACITY_S).per_s
        before, quick_before = _seen(server, given.model)
        _overload(request, given.times * capacity, given)
        after, quick_after = _seen(server, given.model)
    per_s = {code: round((after[code] - before.get(code, 0)) / given.seconds, 1) for code in after}
    refused = after.get(REFUSED, 0) - before.get(REFUSED, 0)
    figures = {
        "model": given.model,
        "transport": given.transport,
        "apart": given.apart,
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(sum(per_s.values()), 1),
        "per_s": per_s,
        "answered_in_time_by_capacity": round(per_s["OK"] / capacity, 3),
    }
    if refused and capacity < 1 / QUICK_S:  # or answers are as quick
        figures["refused_within_5_ms"] = round((quick_after - quick_before) / refused, 4)
    print(json.dumps(figures, indent=2))
    return 0


def _overload(request: Request, per_s: float, given: argparse.Namespace) -> None:
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


def _seen(server: ServerProcess, model: str) -> tuple[dict[str, float], float]:
    """Calls so far, by their status; and those that took 5 ms at most, so that none is answered."""
    codes: dict[str, float] = {}
    quick = 0.0
    for family in text_string_to_metric_families(server.get("/metrics")):
        for sample in family.samples:
            if sample.labels.get("model") != model:
                continue
            if sample.name == "convoy_requests_total":
                codes[sample.labels["code"]] = sample.value
            elif sample.name == DURATION and float(sample.labels["le"]) == QUICK_S:
                quick = sample.value
    return codes, quick


if __name__ == "__main__":
    sys.exit(main())
