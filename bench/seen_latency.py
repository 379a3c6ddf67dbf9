"""
Measure how the server's latency metrics compare with what clients see.

`python -m bench.seen_latency`: LeNet-5 under h2load over both transports, with 1 to 512 calls in
flight. The server's means are those of its histograms: the wait in the transport and the handler.
"""

from __future__ import annotations

import time
from pathlib import Path

import grpc
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from bench.race.h2load import grpc_request, measure
from bench.race.loads import Load
from bench.race.networks import write_networks
from bench.race.raced_model import INFER_PATH, Model
from convoy.service.rpc.backlog import INTERVAL_S, SETTLING_SAMPLES
from tests.harness.server_process import ServerProcess

ROOT = Path("build/race/models")

MODEL = "lenet5"

LOADS = (Load(1, 1), Load(1, 16), Load(1, 64), Load(8, 64))

SECONDS = 5.0

HANDLER = "convoy_request_duration_seconds"
WAIT = "convoy_transport_wait_seconds"


def main() -> None:
    """Measure and print a table."""
    console = Console(emoji=False)
    write_networks(ROOT, Console(emoji=False, stderr=True))
    columns = (
        "transport",
        "in flight",
        "client p50, ms",
        "client mean, ms",
        "wait, ms",
        "handler, ms",
    )
    table = Table(*columns, "server / client")
    options = (
        "--model-control-mode",
        "explicit",
        "--load-model",
        MODEL,
        "--max-queue-size",
        "4096",
    )
    for transport in ("grpcio", "native"):
        with ServerProcess(ROOT, *options, "--transport", transport) as server:
            for load in LOADS:
                table.add_row(transport, *_row(server, load))
    console.print(table)


def _row(server: ServerProcess, load: Load) -> list[str]:
    message = Model.read(ROOT, MODEL, threads=1).message().SerializeToString()
    with grpc.insecure_channel(server.address) as channel:
        request = grpc_request(channel, f"http://{server.address}", INFER_PATH, message)
    before = _sums(server)
    measured = measure(request, load, SECONDS)
    time.sleep(3 * SETTLING_SAMPLES * INTERVAL_S)
    after = _sums(server)
    wait, handler = (
        1000 * (after[name][0] - before[name][0]) / (after[name][1] - before[name][1])
        for name in (WAIT, HANDLER)
    )
    # In a closed loop, the mean is the number in flight by the rate (Little's law).
    mean = 1000 * load.in_flight / measured.per_s
    figures = (measured.p50_ms, mean, wait, handler)
    return [
        str(load.in_flight),
        *(f"{one:.2f}" for one in figures),
        f"{(wait + handler) / mean:.2f}",
    ]


def _sums(server: ServerProcess) -> dict[str, tuple[float, float]]:
    """Return the sum and the count of each histogram, over all models."""
    sums = dict.fromkeys((WAIT, HANDLER), (0.0, 0.0))
    for family in text_string_to_metric_families(server.get("/metrics")):
        for sample in family.samples if family.name in sums else ():
            seconds, count = sums[family.name]
            if sample.name.endswith("_sum"):
                sums[family.name] = seconds + sample.value, count
            elif sample.name.endswith("_count"):
                sums[family.name] = seconds, count + sample.value
    return sums


if __name__ == "__main__":
    main()
