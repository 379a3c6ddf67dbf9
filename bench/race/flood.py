"""Another client beside a flood of calls with tiny deadlines: `python -m bench.race.flood`.

A transport ends a call at its deadline by itself, and the client may send another at once: such
calls cost their client nothing. Prints JSON: the rate of the flood, the latency of a client that
sends a call now and then beside it, and the memory of the server.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import psutil
from rich.console import Console

from bench.race.h2load import Request, grpc_request, measure
from bench.race.loads import Load
from bench.race.networks import write_networks
from bench.race.raced_model import INFER_PATH, Model
from convoy.pb.inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from convoy.service.machine.resources import usable_cpus
from tests.harness.server_process import ServerProcess

ROOT = Path("build/race/models")
NAME = "lenet5"
LOAD = Load(connections=4, streams=64)
PAUSE_S, TIMEOUT_S = 0.05, 2.0
"""Pause between two calls of the other client, and the timeout of each."""


class Beside:
    """
    A client that sends a call every `PAUSE_S` while the block runs.

    Attributes:
        took_ms: Latencies of its answers.
        failed: Its other calls, by gRPC's code.
    """

    def __init__(self, address: str, model: Model) -> None:
        self.took_ms: list[float] = []
        self.failed: Counter[str] = Counter()
        self._address, self._message = address, model.message()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join()

    def _ask(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            stub = GRPCInferenceServiceStub(channel)
            while not self._ends.wait(PAUSE_S):
                started = time.perf_counter()
                try:
                    stub.ModelInfer(self._message, timeout=TIMEOUT_S)
                except grpc.RpcError as error:
                    self.failed[error.code().name] += 1
                else:
                    self.took_ms.append(1000 * (time.perf_counter() - started))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=("grpcio", "native"), default="native")
    parser.add_argument("--front-processes", type=int, default=0)
    parser.add_argument("--deadline-ms", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    write_networks(ROOT, Console(emoji=False, stderr=True))
    model = Model.read(ROOT, NAME, threads=usable_cpus())
    options = (
        *("--model-control-mode", "explicit", "--load-model", NAME),
        *("--transport", given.transport, "--front-processes", str(given.front_processes)),
    )
    with ServerProcess(ROOT, *options) as server:
        with grpc.insecure_channel(server.address) as channel:
            message = model.message().SerializeToString()
            request = grpc_request(channel, f"http://{server.address}", INFER_PATH, message)
        # The first answer makes a template, so that the whole flood takes the fast path.
        measure(request, LOAD, 1.0)
        before = _resident_bytes(server)
        headers = {**request.headers, "grpc-timeout": f"{given.deadline_ms}m"}
        # Its calls are to fail.
        hurried = Request(request.url, request.body, headers)
        with Beside(server.address, model) as beside:
            flood = measure(hurried, LOAD, given.seconds, may_fail=True)
        after = _resident_bytes(server)
    figures = {
        "transport": given.transport,
        "fronts": given.front_processes,
        "flood_per_s": round(flood.per_s),
        "beside_answered": len(beside.took_ms),
        "beside_p50_ms": round(statistics.median(beside.took_ms), 2) if beside.took_ms else None,
        "beside_max_ms": round(max(beside.took_ms), 2) if beside.took_ms else None,
        "beside_failed": beside.failed,
        "memory_mb": [round(before / 1e6), round(after / 1e6)],
    }
    print(json.dumps(figures, indent=2))
    return 0


def _resident_bytes(server: ServerProcess) -> int:
    """Return the resident memory of a server and its fronts."""
    process = psutil.Process(server.process.pid)
    return sum(one.memory_info().rss for one in (process, *process.children()))


if __name__ == "__main__":
    sys.exit(main())
