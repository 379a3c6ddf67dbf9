"""Models loaded and unloaded under load: `python -m bench.model_loads`; prints JSON.

`reloads` reloads LeNet-5 under a closed loop of requests for it, unloads and loads another one, and
puts truncated versions in place. It reports requests that failed, memory after the first ten turns
and at the end, and latency; its exit code is 1 if a request failed.

`large` loads a network of VGG-16's size beside LeNet-5 and reports LeNet-5's latency meanwhile.
`--trace FILE` writes the latency over time as JSON, which `python -m tools.figures` draws if it is
docs/explanation/loading.json. Its load is an open loop: requests leave at a fixed rate, whatever
the answers do, and latency counts from the time when each was to leave.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from convoy.artifact.files import MODEL_FILE
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.importer import import_model
from convoy.figures import style
from convoy.figures.families import SERIES
from convoy.figures.labels import Mark, label_ends
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from convoy.service.machine.resources import processor_name, usable_cpus
from tests.harness.lenet import add_version
from tests.harness.server_process import ServerProcess

CONCURRENCY = 8
"""Requests in flight in the closed loop."""

RATE = 200.0
"""Requests per second in the open loop: about a sixth of what 2 cores can answer."""

QUIET_S = 10.0

WINDOW_S = 0.25
"""The time of which a trace has one median and one maximum."""

Trace = dict[str, Any]

EXPLICIT = ("--model-control-mode", "explicit", "--load-model")


class Inference:
    """The rpcs that this measurement needs, for models that are LeNet-5s."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)

    async def infer(self, model: str) -> str:
        """Classify a black image and return the version that answered."""
        request = pb.ModelInferRequest(model_name=model)
        request.inputs.add(name="image", datatype="UINT8", shape=[1, 32, 32, 1])
        request.raw_input_contents.append(bytes(32 * 32))
        response: pb.ModelInferResponse = await self._stub.ModelInfer(request)
        return response.model_version

    async def load(self, model: str, version: int = 0) -> None:
        """Load the newest version of a model, or the one that is given."""
        request = pb.RepositoryModelLoadRequest(model_name=model)
        if version:
            policy = {"version_policy": {"specific": {"versions": [version]}}}
            request.parameters["config"].string_param = json.dumps(policy)
        await self._stub.RepositoryModelLoad(request)

    async def unload(self, model: str) -> None:
        """Unload a model."""
        await self._stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=model))


@asynccontextmanager
async def serving(
    root: Path, load_model: str, *options: str
) -> AsyncIterator[tuple[ServerProcess, Inference]]:
    """Serve the models of *root* in a process and connect to it."""
    with ServerProcess(root, *EXPLICIT, load_model, *options) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield server, Inference(channel)


@dataclass(slots=True)
class ClosedLoop:
    """The answers of a closed loop: latencies in seconds, versions, failures by their code."""

    seconds: list[float] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, inference: Inference) -> AsyncIterator[None]:
        """Keep `CONCURRENCY` requests for `steady` in flight until the block ends."""
        done = asyncio.Event()
        callers = [asyncio.create_task(self._call(inference, done)) for _ in range(CONCURRENCY)]
        try:
            yield
        finally:
            done.set()
            await asyncio.gather(*callers)

    async def _call(self, inference: Inference, done: asyncio.Event) -> None:
        while not done.is_set():
            started = time.perf_counter()
            try:
                version = await inference.infer("steady")
            # A failure is a result, and must not end the load.
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{error.code().name}: {error.details()}")
                continue
            self.seconds.append(time.perf_counter() - started)
            self.versions.add(version)


async def measure_reloads(
    root: Path, reloads: int, cycles: int, bad_versions: int
) -> dict[str, Any]:
    """Serve from *root*, an empty folder; reload, unload and load, and put in bad versions."""
    for name in ("steady", "steady", "other"):
        add_version(root, name)
    async with serving(root, "*") as (server, inference):
        process = psutil.Process(server.process.pid)

        async def reload(turn: int) -> None:
            await inference.load("steady", 1 + turn % 2)

        async def cycle(turn: int) -> None:
            await inference.unload("other")
            await inference.load("other")

        async def bad_version(turn: int) -> None:
            model = add_version(root, "steady") / MODEL_FILE
            model.write_bytes(model.read_bytes()[: -1 - turn])
            try:
                await inference.load("steady")
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise
            else:
                raise RuntimeError("a truncated version was loaded")

        steps = {
            "reloads": (reload, reloads),
            "load and unload cycles": (cycle, cycles),
            "truncated versions": (bad_version, bad_versions),
        }
        return {
            name: await _repeat(inference, process, name, step, count)
            for name, (step, count) in steps.items()
        }


async def _repeat(
    inference: Inference,
    process: psutil.Process,
    name: str,
    step: Callable[[int], Awaitable[None]],
    count: int,
) -> dict[str, Any]:
    """Do *step* *count* times under load; return figures of the answers and of the memory."""
    loop = ClosedLoop()
    async with loop.running(inference):
        after_ten = _resident_mb(process)
        for turn in track(range(count), name, console=Console(emoji=False, stderr=True)):
            await step(turn)
            if turn == 9:  # the first turns fill caches and pools
                after_ten = _resident_mb(process)
        at_end = _resident_mb(process)
    return {
        "times": count,
        "requests": len(loop.seconds),
        "failed": len(loop.failures),
        "failures": sorted(set(loop.failures))[:5],
        "versions": sorted(loop.versions),
        "resident_mb_after_ten": after_ten,
        "resident_mb_at_end": at_end,
        "latency_ms": _percentiles_ms(loop.seconds),
    }


class OpenLoop:
    """
    Requests for LeNet-5 at a fixed rate.

    Attributes:
        dots: When each answered request was due, and its latency, in seconds.
        phases: Name, start and end of what happened meanwhile.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self.dots: list[tuple[float, float]] = []
        self.phases: list[tuple[str, float, float]] = []
        self._calls: set[asyncio.Task[None]] = set()

    async def during(self, phase: str, work: Awaitable[Any]) -> dict[str, Any]:
        """Send requests until *work* is done; return the figures of their answers."""
        started, first = time.perf_counter(), len(self.dots)
        sending = asyncio.create_task(self._send())
        await work
        sending.cancel()
        await asyncio.gather(*self._calls)
        ended = time.perf_counter()
        self.phases.append((phase, started, ended))
        # A request that was due in this phase counts here, even if its answer came later.
        latencies = [latency for _, latency in self.dots[first:]]
        return {
            "seconds": round(ended - started, 2),
            "requests": len(latencies),
            "latency_ms": _percentiles_ms(latencies),
        }

    async def _send(self) -> None:
        started = time.perf_counter()
        for number in range(1_000_000):
            due = started + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            call = asyncio.create_task(self._call(due))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _call(self, due: float) -> None:
        await self._inference.infer("lenet5")
        self.dots.append((due, time.perf_counter() - due))

    def windows(self) -> Trace:
        """Return the phases, and the latency of the requests that were due in each window."""
        start = self.phases[0][1]
        windows: dict[int, list[float]] = {}
        for due, latency in self.dots:
            windows.setdefault(int((due - start) / WINDOW_S), []).append(1000 * latency)
        machine = f"{processor_name()}, {usable_cpus()} cores"
        return {
            "conditions": f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine}",
            "window_s": WINDOW_S,
            "phases": [
                {"name": name, "start_s": round(begun - start, 3), "end_s": round(ended - start, 3)}
                for name, begun, ended in self.phases
            ],
            "latency_ms": [
                {
                    "at_s": round((number + 0.5) * WINDOW_S, 3),
                    "p50": round(float(np.percentile(found, 50)), 3),
                    "max": round(max(found), 3),
                }
                for number, found in sorted(windows.items())
            ],
        }


def figure(path: Path) -> Figure:
    """Draw the trace in the file at *path*: latency over time, above the names of the phases."""
    trace = json.loads(path.read_text())
    made, (axes,), _ = style.frame(
        "Latency of LeNet-5 while VGG-16 is loaded and unloaded",
        [
            f"{trace['conditions']}; {RATE:g} requests per second (bench.model_loads). Lines: "
            f"median and maximum of each {trace['window_s']:g} s. {_phases_in_words(trace)}"
        ],
        ["numbers: what happens meanwhile"],
    )
    for number, phase in enumerate(trace["phases"]):
        begun, ended = phase["start_s"], phase["end_s"]
        axes.axvspan(begun, ended, color=style.GRID, alpha=0.9 * (number % 2), lw=0)
        axes.text((begun + ended) / 2, 0.97, str(number + 1), transform=axes.get_xaxis_transform())
        axes.texts[-1].set(fontsize=style.SMALL, color=style.INK, ha="center")
    at = [window["at_s"] for window in trace["latency_ms"]]
    ends = []
    for name, color in zip(("p50", "max"), SERIES, strict=False):
        values = [window[name] for window in trace["latency_ms"]]
        axes.plot(at, values, color=color, lw=1.2)
        ends.append(Mark({"p50": "median", "max": "maximum"}[name], at[-1], values[-1]))
    axes.set(xlabel="seconds", ylabel="latency, ms")
    style.set_logarithmic(axes, y=True)
    label_ends(axes, ends, SERIES[:2])
    return made


def _phases_in_words(trace: Trace) -> str:
    names = (f"{number}: {phase['name']}" for number, phase in enumerate(trace["phases"], start=1))
    return f"{'; '.join(names)}."


async def measure_large(root: Path, cache: Path) -> tuple[dict[str, Any], Trace]:
    """Serve LeNet-5 from *root*, and load and unload VGG-16 beside it; return figures and trace."""
    add_version(root, "lenet5")
    _write_vgg16(root, Console(emoji=False, stderr=True))
    async with serving(root, "lenet5", "--graph-cache", str(cache)) as (_, inference):
        loop = OpenLoop(inference)
        # The second load opens the graph that the first one left in the cache.
        results = {
            "nothing else": await loop.during("nothing else", asyncio.sleep(QUIET_S)),
            "loading VGG-16": await loop.during("loading VGG-16", inference.load("vgg16")),
            "VGG-16 loaded, idle": await loop.during("VGG-16 loaded, idle", asyncio.sleep(QUIET_S)),
            "unloading it": await loop.during("unloading VGG-16", inference.unload("vgg16")),
            "loading it again": await loop.during("loading it again", inference.load("vgg16")),
        }
    return results, loop.windows()


def _write_vgg16(root: Path, console: Console) -> None:
    """Write an artifact of VGG-16 with random weights: 138 million parameters, 553 MB."""
    import torch  # takes seconds, and `reloads` needs none of it
    import torchvision

    network = torchvision.models.vgg16(weights=None).eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "vgg16.onnx"
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, 224, 224),),
            file,
            dynamo=True,
            external_data=False,
            input_names=["input"],
            output_names=["logits"],
            dynamic_shapes={"x": {0: torch.export.Dim("N")}},
            verbose=False,
        )
        import_model(ImportSettings(file=file, model_repository=root, max_batch_size=8), console)


def _resident_mb(process: psutil.Process) -> float:
    return round(process.memory_info().rss / 1e6, 1)


def _percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    names = ("p50", "p99", "max")
    values = np.percentile(seconds, (50, 99, 100)) * 1000
    return {name: round(float(value), 2) for name, value in zip(names, values, strict=True)}


def main() -> int:
    """Measure and print; 1 if a request failed during reloads."""
    parser = argparse.ArgumentParser(prog="python -m bench.model_loads", description=__doc__)
    parser.add_argument("what", choices=("reloads", "large"))
    parser.add_argument("--trace", type=Path, help="JSON file for the latency of `large` over time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "models"
        if given.what == "reloads":
            results = asyncio.run(measure_reloads(root, 500, 200, 20))
        else:
            results, trace = asyncio.run(measure_large(root, Path(folder) / "graphs"))
            if given.trace:
                given.trace.write_text(json.dumps(trace, indent=1) + "\n")
    print(json.dumps(results, indent=2))
    return int(any(result.get("failed") for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
