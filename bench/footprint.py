"""Start, memory and idle CPU of a server with one LeNet-5, memory with a ResNet-50: prints JSON.

`make bench` runs this. Start and the memory of a ResNet-50 are measured beside the plainest program
there could be, one that imports ONNX Runtime and opens and runs the same graph, in alternation.
"""

from __future__ import annotations

import asyncio
import json
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import onnxruntime
import psutil
from rich.console import Console

from bench.race.networks import write_networks
from convoy import Client
from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.bench.load_results import OK
from convoy.commands.bench.loops import closed_loop
from convoy.commands.bench.target import Sender, find
from convoy.export import data
from tests.harness.server_process import ServerProcess

ROUNDS = 10
IDLE_S = 10.0
REPOSITORY = Path("tests/data/model_repository")
MODEL = REPOSITORY / "lenet5" / "1" / "model.onnx"

PLAIN = (
    "import os, sys; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; import onnxruntime; "
    "onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
)

LARGE = Path("build/race/models/resnet50/1/model.onnx")
LARGE_ROUNDS = 5
LARGE_S = 5.0
"""Duration of the load: 16 requests in flight, which make batches of 8."""

PLAIN_LARGE = (
    f"{PLAIN.replace('onnxruntime.Inf', 'session = onnxruntime.Inf')}; import numpy; "
    "images = numpy.zeros((8, 224, 224, 3), numpy.uint8); "
    "[session.run(None, {'image': images}) for _ in range(5)]; print('warm', flush=True); input()"
)


def main() -> None:
    """Measure and print."""
    starts, plain_starts = [], []
    # In alternation, so that a disturbance of the machine meets both.
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", PLAIN, str(MODEL)], check=True)
        plain_starts.append(time.perf_counter() - started)
        with ServerProcess(REPOSITORY) as server:
            starts.append(server.start_s)
    resident, loaded_resident, idle = _measure_process()
    served, alone = _measure_large()
    figures = {
        "start_to_ready_s": _spread(starts),
        "plain_onnxruntime_start_s": _spread(plain_starts),
        "start_ratio": round(statistics.median(starts) / statistics.median(plain_starts), 2),
        "resident_mb_at_ready": resident,
        "resident_mb_after_1000_images": loaded_resident,
        "idle_cpu_percent": idle,
        "resnet50_resident_mb": _spread(served),
        "resnet50_plain_resident_mb": _spread(alone),
        "resnet50_ratio": round(statistics.median(served) / statistics.median(alone), 3),
        "machine": platform.processor() or platform.machine(),
        "cpus": psutil.cpu_count(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "grpcio": version("grpcio"),
    }
    print(json.dumps(figures, indent=2))


def _measure_process() -> tuple[float, float, float]:
    """Return resident MB when ready and after 1,000 images, and idle CPU in % of one core."""
    digits = data.load("mnist5k").test
    images = [digits.image(index) for index in range(len(digits))]
    with ServerProcess(REPOSITORY) as server:
        process = psutil.Process(server.process.pid)
        resident = process.memory_info().rss
        with Client(server.address) as client:
            for start in range(0, len(images), 100):
                client.classify_batch(images[start : start + 100], model="lenet5")
        loaded_resident = process.memory_info().rss
        time.sleep(1)  # the last calls end
        before = sum(process.cpu_times()[:2])
        time.sleep(IDLE_S)
        idle = (sum(process.cpu_times()[:2]) - before) / IDLE_S
    return round(resident / 1e6, 1), round(loaded_resident / 1e6, 1), round(100 * idle, 2)


def _measure_large() -> tuple[list[float], list[float]]:
    """Return the resident MB of servers and of plain programs, warm at batches of 8."""
    # In alternation, so that a disturbance of the machine meets both.
    write_networks(LARGE.parent.parent.parent, Console(emoji=False, stderr=True))
    served, alone = [], []
    for _ in range(LARGE_ROUNDS):
        with subprocess.Popen(
            [sys.executable, "-c", PLAIN_LARGE, str(LARGE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as plain:
            assert plain.stdout is not None
            plain.stdout.readline()
            alone.append(psutil.Process(plain.pid).memory_info().rss / 1e6)
            plain.communicate(b"\n")
        explicit = ("--model-control-mode", "explicit", "--load-model", "resnet50")
        with ServerProcess(LARGE.parent.parent.parent, *explicit) as server:
            asyncio.run(_ask(server.address, "resnet50"))
            served.append(psutil.Process(server.process.pid).memory_info().rss / 1e6)
    return served, alone


async def _ask(address: str, model: str) -> None:
    settings = BenchSettings.model_validate({"address": address, "model": model})
    async with Sender(await find(settings, []), settings) as send:
        answers = await closed_loop(send, in_flight=16, seconds=LARGE_S)
    assert all(answer.code == OK for answer in answers)


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


if __name__ == "__main__":
    main()
