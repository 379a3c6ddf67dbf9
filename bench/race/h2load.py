"""One measurement by h2load (Debian's nghttp2-client), which costs a server's cores little."""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from bench.race.loads import Load, Measured, warm_up_s
from bench.race.raced_model import framed

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
        answer_bytes: Bytes of an answer over gRPC, with its frame; None if calls may fail, or if
            HTTP's status tells whether they did.
    """

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: GRPC_HEADERS)
    http1: bool = False
    answer_bytes: int | None = None


def grpc_request(
    channel: grpc.Channel, url: str, path: str, message: bytes, timeout_s: float = 10.0
) -> Request:
    """
    Return the request of a gRPC call, after an answer to it that tells how large answers are.

    Raises:
        grpc.RpcError: If the server does not answer.
    """
    ask: Callable[..., bytes] = channel.unary_unary(path)
    return Request(
        f"{url}{path}", framed(message), answer_bytes=len(framed(ask(message, timeout=timeout_s)))
    )


def measure(request: Request, load: Load, seconds: float, *, may_fail: bool = False) -> Measured:
    """
    Send *request* for *seconds* and return the figures.

    Args:
        may_fail: Whether requests that fail, or are reset, count as those that are answered.

    Raises:
        RuntimeError: If a request fails, unless it may.
    """
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(request.body)
        log.touch()
        command = _command(request, load, body)
        # A run of its own: in one with a warm-up, h2load counts its bytes, but not its requests.
        _run([*command, "--duration", _ms(warm_up_s(seconds)), request.url])
        told = _run([*command, "--duration", _ms(seconds), "--log-file", str(log), request.url])
        answered = _done(told) if may_fail else _answered(request, told)
        latencies = [int(line.split("\t")[2]) / 1000 for line in log.read_text().splitlines()]
    return Measured(
        per_s=answered / seconds,
        p50_ms=statistics.median(latencies),
        p99_ms=statistics.quantiles(latencies, n=100)[98] if len(latencies) > 1 else latencies[0],
    )


def _command(request: Request, load: Load, body: Path) -> list[str]:
    """Return the command without a duration and the address."""
    connections, streams = load.connections, load.streams
    # HTTP/1.1 has one request in flight per connection: connections take the place of streams.
    if request.http1:
        connections, streams = load.in_flight, 1
    return [
        *("h2load", "--threads", "1", "--clients", str(connections)),
        *("--max-concurrent-streams", str(streams), "--data", str(body)),
        *(["--h1"] if request.http1 else []),
        *(part for name, value in request.headers.items() for part in ("-H", f"{name}:{value}")),
    ]


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _done(told: str) -> int:
    """Return the number of requests that ended, in whatever way."""
    (done,) = re.findall(r"requests: .* (\d+) done", told)
    return int(done)


def _answered(request: Request, told: str) -> int:
    """
    Return the number of answers that h2load's output tells of.

    Raises:
        RuntimeError: If there are none, or if a request failed.
    """
    counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", told)
    data = re.search(r"\((\d+)\) data", told)
    # The rates of two servers compare only if both have answered every request.
    if not counts or not data or int(counts[1]) == 0 or int(counts[2]) or int(counts[3]):
        raise RuntimeError(f"{request.url}: {told}")
    succeeded = int(counts[1])
    # h2load does not read gRPC's status, which is in the trailers: to it a refused call has
    # succeeded. But such a call has no message, and all answers to one request are equally large.
    if request.answer_bytes and (found := int(data[1]) // request.answer_bytes) < succeeded:
        raise RuntimeError(
            f"{request.url}: {succeeded - found} of {succeeded} calls failed; lower the load"
        )
    return succeeded


def _ms(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"
