"""Loads and unloads models under constant load, and watches for what must not happen.

Prints JSON: requests that failed, memory after the first ten reloads and at the end, and the
latency of the model under load while nothing, and while something, is being loaded.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from rich.console import Console
from rich.progress import track

from convoy.artifact.files import MODEL_FILE
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from tests.harness.lenet import add_version
from tests.harness.server_process import ServerProcess

CONCURRENCY = 8


@dataclass(slots=True)
class Load:
    """What the load generator saw: latencies in seconds, versions, failures by their code."""

    seconds: list[float] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)


class Bench:
    """A server with a model under load, `steady`, and another one, `other`."""

    def __init__(self, server: ServerProcess, root: Path, channel: grpc.aio.Channel) -> None:
        self.root = root
        self._stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._process = psutil.Process(server.process.pid)

    @property
    def resident_mb(self) -> float:
        """Resident memory of the server, in MB."""
        return round(self._process.memory_info().rss / 1e6, 1)

    async def load(self, name: str, version: int = 0) -> None:
        """Load the newest version of a model, or a given one."""
        request = pb.RepositoryModelLoadRequest(model_name=name)
        if version:
            policy = {"version_policy": {"specific": {"versions": [version]}}}
            request.parameters["config"].string_param = json.dumps(policy)
        await self._stub.RepositoryModelLoad(request)

    async def unload(self, name: str) -> None:
        """Unload a model."""
        await self._stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=name))

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[Load]:
        """Ask `steady` without a pause, `CONCURRENCY` requests at a time."""
        seen, done = Load(), asyncio.Event()
        asking = [asyncio.create_task(self._ask(seen, done)) for _ in range(CONCURRENCY)]
        try:
            yield seen
        finally:
            done.set()
            await asyncio.gather(*asking)

    async def _ask(self, seen: Load, done: asyncio.Event) -> None:
        request = infer_request("steady")
        while not done.is_set():
            started = time.perf_counter()
            try:
                answer = await self._stub.ModelInfer(request)
            except grpc.aio.AioRpcError as error:
                seen.failures.append(f"{error.code().name}: {error.details()}")
                continue
            seen.seconds.append(time.perf_counter() - started)
            seen.versions.add(answer.model_version)


def infer_request(model: str) -> pb.ModelInferRequest:
    """A black image for a LeNet-5."""
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 32, 32, 1])
    request.raw_input_contents.append(bytes(32 * 32))
    return request


async def repeat(
    bench: Bench, count: int, what: str, step: Callable[[int], Awaitable[None]]
) -> dict[str, Any]:
    """Do *step* *count* times under load; tell what the load and the memory were like."""
    async with bench.under_load() as seen:
        after_ten = bench.resident_mb
        for turn in track(range(count), what, console=Console(stderr=True)):
            await step(turn)
            if turn == 9:
                after_ten = bench.resident_mb
        at_end = bench.resident_mb
    return {
        "times": count,
        "requests": len(seen.seconds),
        "failed": len(seen.failures),
        "failures": sorted(set(seen.failures))[:5],
        "versions": sorted(seen.versions),
        "resident_mb_after_ten": after_ten,
        "resident_mb_at_end": at_end,
        "latency_ms": percentiles(seen.seconds),
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum, in milliseconds."""
    p50, p99 = np.percentile(seconds, [50, 99])
    return {
        "p50": round(p50 * 1000, 2),
        "p99": round(p99 * 1000, 2),
        "max": round(max(seconds) * 1000, 2),
    }


async def measure(root: Path, reloads: int, cycles: int, bad_versions: int) -> dict[str, Any]:
    """Serve from *root*, an empty folder; reload, load and unload, and put in bad versions."""
    for name in ("steady", "steady", "other"):
        add_version(root, name)
    options = ("--model-control-mode", "explicit", "--load-model", "*")
    with ServerProcess(root, *options) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            bench = Bench(server, root, channel)
            return await _measure(bench, reloads, cycles, bad_versions)


async def _measure(bench: Bench, reloads: int, cycles: int, bad_versions: int) -> dict[str, Any]:

    async def reload(turn: int) -> None:
        await bench.load("steady", 1 + turn % 2)

    async def cycle(turn: int) -> None:
        await bench.unload("other")
        await bench.load("other")

    async def bad_version(turn: int) -> None:
        model = add_version(bench.root, "steady") / MODEL_FILE
        model.write_bytes(model.read_bytes()[: -1 - turn])
        try:
            await bench.load("steady")
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
        else:
            raise RuntimeError("a truncated version was loaded")

    return {
        "reloads": await repeat(bench, reloads, "reloading", reload),
        "load and unload cycles": await repeat(bench, cycles, "load, unload", cycle),
        "truncated versions": await repeat(bench, bad_versions, "bad versions", bad_version),
    }


def main() -> int:
    """Measure and print; 1 if a request failed."""
    with tempfile.TemporaryDirectory() as folder:
        results = asyncio.run(measure(Path(folder), 500, 200, 20))
    print(json.dumps(results, indent=2))
    return int(any(result["failed"] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
