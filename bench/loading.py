"""The latency of LeNet-5 while a network of VGG-16's size is loaded beside it.

Prints JSON; `--plot FILE` draws the trace, each dot an answer. Open loop: requests leave at a fixed
rate, whatever the answers do, and latency counts from the time when each was to leave.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import matplotlib as mpl
from rich.console import Console

from bench.reload import infer_request, percentiles
from convoy.artifact.repository import ModelRepository
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.importer import import_model
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from tests.harness.lenet import add_version
from tests.harness.server_process import ServerProcess

RATE = 200.0
"""Requests per second: about a sixth of what the 2 cores could answer."""

QUIET_S = 10.0


def write_vgg16(root: Path, console: Console) -> None:
    """Write an artifact of VGG-16 with random weights: 138 million parameters, 553 MB."""
    import torch
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


class Trace:
    """Asks LeNet-5 at a fixed rate and keeps, for each answer, when it was due and how late."""

    def __init__(self, stub: grpc_service_pb2_grpc.GRPCInferenceServiceStub) -> None:
        self._stub = stub
        self.dots: list[tuple[float, float]] = []
        self.phases: list[tuple[str, float, float]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def during(self, phase: str, work: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        """Trace while *work* is done."""
        started, first = time.perf_counter(), len(self.dots)
        asking = asyncio.create_task(self._ask_on())
        await work()
        asking.cancel()
        await asyncio.gather(*self._tasks)
        ended = time.perf_counter()
        self.phases.append((phase, started, ended))
        latencies = [latency for _, latency in self.dots[first:]]
        return {
            "seconds": round(ended - started, 2),
            "requests": len(latencies),
            "latency_ms": percentiles(latencies),
        }

    async def _ask_on(self) -> None:
        started = time.perf_counter()
        for number in range(1_000_000):
            due = started + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._ask(due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, due: float) -> None:
        await self._stub.ModelInfer(infer_request("lenet5"))
        self.dots.append((due, time.perf_counter() - due))

    def plot(self, file: Path) -> None:
        """Draw the trace."""
        mpl.use("agg")
        from matplotlib import pyplot as plt

        start = self.phases[0][1]
        figure, axes = plt.subplots(figsize=(9, 3.5))
        for number, (phase, begun, ended) in enumerate(self.phases):
            axes.axvspan(begun - start, ended - start, color=f"C{number}", alpha=0.12, label=phase)
        times, latencies = zip(*self.dots, strict=True)
        axes.plot([t - start for t in times], [1000 * s for s in latencies], ".", markersize=2)
        axes.set(xlabel="seconds", ylabel="latency of LeNet-5, ms", yscale="log")
        axes.legend(loc="upper right", fontsize="small")
        figure.tight_layout()
        figure.savefig(file, dpi=110)


async def measure(root: Path, cache: Path, plot: Path | None) -> dict[str, Any]:
    """Serve, load and trace."""
    options = ("--model-control-mode", "explicit", "--load-model", "lenet5")
    with ServerProcess(root, *options, "--graph-cache", str(cache)) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            trace = Trace(stub)

            async def load() -> None:
                await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="vgg16"))

            async def unload() -> None:
                request = pb.RepositoryModelUnloadRequest(model_name="vgg16")
                await stub.RepositoryModelUnload(request)

            async def rest() -> None:
                await asyncio.sleep(QUIET_S)

            results = {
                "nothing else": await trace.during("nothing else", rest),
                "loading VGG-16": await trace.during("loading VGG-16", load),
                "VGG-16 loaded, idle": await trace.during("loaded, idle", rest),
                "unloading it": await trace.during("unloading", unload),
                "loading it again": await trace.during("loading it again", load),
            }
            if plot:
                trace.plot(plot)
            return results


def main() -> None:
    """Make the artifacts, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, help="where to draw the trace, as PNG")
    plot = parser.parse_args().plot
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "models"
        add_version(root, "lenet5")
        write_vgg16(root, Console(stderr=True))
        assert ModelRepository(root).versions("vgg16") == [1]
        results = asyncio.run(measure(root, Path(folder) / "graphs", plot))
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
