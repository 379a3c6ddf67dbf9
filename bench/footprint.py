"""Start, memory and idle CPU of a server with one LeNet-5: prints JSON.

`make bench` runs this. Start is measured beside the plainest program there could be, one that
imports ONNX Runtime and opens the same graph, in alternation.
"""

from __future__ import annotations

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

from bench.server import ServerProcess
from convoy import Client
from export import data

ROUNDS = 10
IDLE_S = 10.0
REPOSITORY = Path("tests/data/model_repository")
MODEL = REPOSITORY / "lenet5" / "1" / "model.onnx"

PLAIN = (
    "import os, sys; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; import onnxruntime; "
    "onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
)


def main() -> None:
    """Measure and print."""
    starts, plain_starts = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", PLAIN, str(MODEL)], check=True)
        plain_starts.append(time.perf_counter() - started)
        with ServerProcess(REPOSITORY) as server:
            starts.append(server.start_s)
    resident, loaded_resident, idle = _measure_process()
    figures = {
        "start_to_ready_s": _spread(starts),
        "plain_onnxruntime_start_s": _spread(plain_starts),
        "start_ratio": round(statistics.median(starts) / statistics.median(plain_starts), 2),
        "resident_mb_at_ready": resident,
        "resident_mb_after_1000_images": loaded_resident,
        "idle_cpu_percent": idle,
        "machine": platform.processor() or platform.machine(),
        "cpus": psutil.cpu_count(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "grpcio": version("grpcio"),
    }
    print(json.dumps(figures, indent=2))


def _measure_process() -> tuple[float, float, float]:
    """Resident MB when ready and after 1,000 images; CPU in per cent of one core when idle."""
    digits = data.load("mnist5k").test
    images = [digits.image(index) for index in range(len(digits))]
    with ServerProcess(REPOSITORY) as server:
        process = psutil.Process(server.process.pid)
        resident = process.memory_info().rss
        with Client(server.address) as client:
            for start in range(0, len(images), 100):
                client.classify_batch(images[start : start + 100], model="lenet5")
        loaded_resident = process.memory_info().rss
        time.sleep(1)
        before = sum(process.cpu_times()[:2])
        time.sleep(IDLE_S)
        idle = (sum(process.cpu_times()[:2]) - before) / IDLE_S
    return round(resident / 1e6, 1), round(loaded_resident / 1e6, 1), round(100 * idle, 2)


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


if __name__ == "__main__":
    main()
