"""The effect of front processes: `python -m bench.fronts`; prints a table in Markdown.

The device sleeps as long as an H100 computes (`bench/sleeping_server.py`), so that only receiving,
decoding and scheduling take processor time. Two servers at a time are measured in turn, by h2load:
images per second, latency, and processor time per request of each process. It takes less than ten
minutes, and needs a machine without other work. `--json` also writes what was measured, from which
`python -m tools.figures` draws throughput against connections.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import ssl
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import psutil
import trustme

from bench.front_rows import table
from bench.race.convoy_servers import photo
from bench.race.h2load import Request, grpc_request, measure
from bench.race.loads import Load
from bench.race.raced_model import INFER_PATH
from bench.sleeping_models import write_models
from convoy.commands.measurement.intervals import of_median
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.machine.resources import usable_cpus
from tests.harness.server_process import ServerProcess

PROGRAM = ("-m", "bench.sleeping_server")

LOADS = (
    ("tensor", Load(16, 4)),
    ("tensor", Load(1, 1)),
    ("tensor", Load(1, 64)),
    ("tensor", Load(4, 16)),
    ("tensor", Load(64, 1)),
    ("jpeg", Load(16, 4)),
    ("lenet", Load(16, 4)),
)

COUNTED = {
    "convoy_requests_total": "calls",
    "convoy_batch_size_count": "batches",
    "convoy_batch_size_sum": "images",
}

Rows = list[dict[str, float]]


class Kind(NamedTuple):
    """A kind of server."""

    name: str
    fronts: int
    transport: str = "grpcio"
    tls: bool = False


class Comparison(NamedTuple):
    """Two kinds of servers, and the loads under which they are measured in turn."""

    first: Kind
    second: Kind
    loads: Sequence[tuple[str, Load]]


class Server:
    """A running server of some kind."""

    def __init__(self, kind: Kind, process: ServerProcess, authority: trustme.CA) -> None:
        self.kind = kind
        self.process = process
        self.url = f"{'https' if kind.tls else 'http'}://{process.address}"
        self._authority = authority

    def channel(self) -> grpc.Channel:
        """Open a connection."""
        if not self.kind.tls:
            return grpc.insecure_channel(self.process.address)
        credentials = grpc.ssl_channel_credentials(self._authority.cert_pem.bytes())
        return grpc.secure_channel(self.process.address, credentials)

    def counts(self) -> Counter[str]:
        """Return the calls, batches and images so far."""
        time.sleep(0.2)
        context = None
        url = f"{self.process.url}/metrics"
        if self.kind.tls:
            context, url = ssl.create_default_context(), url.replace("http:", "https:")
            self._authority.configure_trust(context)
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:
            lines = (line.split() for line in answer.read().decode().splitlines())
        found: Counter[str] = Counter()
        for line in lines:
            if name := COUNTED.get(line[0].partition("{")[0]):
                found[name] += int(float(line[-1]))
        return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fronts", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repository", type=Path, default=Path("build/fronts"))
    options = parser.parse_args()
    if not options.repository.exists():
        write_models(options.repository)
    found: dict[str, Any] = {
        "cores": usable_cpus(),
        "fronts": options.fronts,
        "pairs": options.pairs,
        "date": time.strftime("%Y-%m-%d"),
        "engine": _engine(options.repository),
        "rows": [],
    }
    for comparison in _comparisons(options.fronts):
        for row in _compare(comparison, options):
            print(json.dumps(row), file=sys.stderr, flush=True)
            found["rows"].append(row)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))
    return 0


def _comparisons(fronts: int) -> Iterator[Comparison]:
    some = Kind("fronts", fronts)
    yield Comparison(Kind("one process", 0), some, LOADS)
    if find_spec("pygrpc_native"):
        yield Comparison(
            Kind("one process, native", 0, "native"),
            Kind("fronts, native", fronts, "native"),
            [LOADS[0], LOADS[5]],
        )
    yield Comparison(some, Kind("fronts, TLS", fronts, tls=True), [LOADS[0]])


def _engine(repository: Path) -> dict[str, dict[str, float]]:
    """Return the engine's own processor time per request, measured in a process of its own."""
    command = [sys.executable, "-m", "bench.front_engine", "--repository", str(repository)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, dict[str, float]] = json.loads(told)
    return found


def _compare(comparison: Comparison, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    authority = trustme.CA()
    with ExitStack() as stack:
        servers = [
            _start(kind, options.repository, authority, stack)
            for kind in (comparison.first, comparison.second)
        ]
        for request, load in comparison.loads:
            rows: tuple[Rows, Rows] = ([], [])
            for _ in range(options.pairs):
                for server, measured in zip(servers, rows, strict=True):
                    measured.append(_measure(server, request, load, options.seconds))
            yield {
                "request": request,
                "connections": load.connections,
                "in_flight": load.in_flight,
                **_summary(comparison, rows),
            }


def _start(kind: Kind, repository: Path, authority: trustme.CA, stack: ExitStack) -> Server:
    options = ["--device", "cpu", "--transport", kind.transport]
    options += ["--front-processes", str(kind.fronts)]
    if kind.tls:
        issued, folder = authority.issue_cert("127.0.0.1"), repository.parent
        certificate, key = folder / "fronts.crt", folder / "fronts.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        options += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    server = stack.enter_context(ServerProcess(repository, *options, program=PROGRAM))
    return Server(kind, server, authority)


def _measure(server: Server, kind: str, load: Load, seconds: float) -> dict[str, float]:
    is_digit = kind == "lenet"
    request = _digit(server) if is_digit else tensor_or_photo(server, kind, "sleeping")
    engine = psutil.Process(server.process.process.pid)
    processes = [engine, *engine.children()]
    counts, load_s = server.counts(), _load_cpu_s()
    before = [_cpu_s(process) for process in processes]
    measured = measure(request, load, seconds)
    after = [_cpu_s(process) for process in processes]
    # Of the warm-up, too.
    counts = server.counts() - counts
    answered = counts["calls"]
    load_s = _load_cpu_s() - load_s
    spent_us = [1e6 * (end - start) / answered for start, end in zip(before, after, strict=True)]
    return {
        "per_s": measured.per_s,
        "p50_ms": measured.p50_ms,
        "p99_ms": measured.p99_ms,
        "engine_us": spent_us[0],
        "fronts_us": sum(spent_us[1:]),
        "load_us": 1e6 * load_s / answered,
        "batch": counts["images"] / counts["batches"],
    }


def _summary(comparison: Comparison, rows: tuple[Rows, Rows]) -> dict[str, Any]:
    """Return the median of each figure, and the ratio of the rates in pairs with its interval."""
    ratios = [b["per_s"] / a["per_s"] for a, b in zip(*rows, strict=True)]
    summary: dict[str, Any] = {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_95": [round(bound, 3) for bound in of_median(ratios)],
    }
    for side, kind, measured in zip(("first", "second"), comparison, rows, strict=False):
        assert isinstance(kind, Kind)
        medians = {
            name: round(statistics.median(row[name] for row in measured), 2) for name in measured[0]
        }
        summary[side] = {"kind": kind.name, **medians}
    return summary


def tensor_or_photo(server: Server, kind: str, model: str) -> Request:
    """Return a request for a *model* of 224 pixels: a photograph if *kind* is `jpeg`, or pixels."""
    message = pb.ModelInferRequest(model_name=model)
    if kind == "jpeg":
        data = photo()
        message.inputs.add(name="image", datatype="BYTES", shape=(1,))
        message.raw_input_contents.append(len(data).to_bytes(4, "little") + data)
    else:
        _add_pixels(message, (1, 224, 224, 3))
    return _repeated(server, message)


def _digit(server: Server) -> Request:
    message = pb.ModelInferRequest(model_name="lenet5")
    _add_pixels(message, (1, 32, 32, 1))
    return _repeated(server, message)


def _add_pixels(message: pb.ModelInferRequest, shape: Sequence[int]) -> None:
    message.inputs.add(name="image", datatype="UINT8", shape=shape)
    message.raw_input_contents.append(bytes(math.prod(shape)))


def _repeated(server: Server, message: pb.ModelInferRequest) -> Request:
    with server.channel() as channel:
        return grpc_request(channel, server.url, INFER_PATH, message.SerializeToString())


def _cpu_s(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def _load_cpu_s() -> float:
    """Return the processor time of all runs of h2load so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    raise SystemExit(main())
