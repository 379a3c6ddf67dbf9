"""One measurement by h2load (Debian's nghttp2-client), which costs a server's cores little."""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.race.loads import Load, Measured, warm_up_s

GRPC_HEADERS = {"content-type": "application/grpc", "te": "trailers"}


@dataclass(frozen=True, slots=True)
class Request:
    """
    The request that h2load repeats.

    Attributes:
        url: The address, with the path.
        body: The bytes, including gRPC's frame.
        headers: The headers, without those of HTTP itself.
        http1: Use HTTP/1.1, one request in flight per connection, in place of HTTP/2.
    """

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: GRPC_HEADERS)
    http1: bool = False


def measure(request: Request, load: Load, seconds: float) -> Measured:
    """
    Send *request* for *seconds* and return the figures.

    h2load does not read gRPC's status, which is in the trailers: a refused call counts as
    answered. Use only loads that the server can answer.

    Raises:
        RuntimeError: If a request fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(request.body)
        log.touch()
        connections, streams = load.connections, load.streams
        # HTTP/1.1 has one request in flight per connection: connections take the place of streams.
        if request.http1:
            connections, streams = load.in_flight, 1
        command = [
            *("h2load", "--threads", "1", "--clients", str(connections)),
            *("--max-concurrent-streams", str(streams)),
            *("--duration", _ms(seconds), "--warm-up-time", _ms(warm_up_s(seconds))),
            *("--data", str(body), "--log-file", str(log)),
            *(["--h1"] if request.http1 else []),
            *(
                part
                for name, value in request.headers.items()
                for part in ("-H", f"{name}:{value}")
            ),
            request.url,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        counts = re.search(
            r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", done.stdout
        )
        # The rates of two servers compare only if both have answered every request.
        if not counts or int(counts[1]) == 0 or int(counts[2]) or int(counts[3]):
            raise RuntimeError(f"{request.url}: {done.stdout}{done.stderr}")
        latencies = [int(line.split("\t")[2]) / 1000 for line in log.read_text().splitlines()]
    return Measured(
        per_s=int(counts[1]) / seconds,
        p50_ms=statistics.median(latencies),
        p99_ms=statistics.quantiles(latencies, n=100)[98] if len(latencies) > 1 else latencies[0],
    )


def _ms(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"
