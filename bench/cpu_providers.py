"""Speed of one network on a CPU, by provider and precision: `python -m bench.cpu_providers`.

ONNX Runtime's own kernels in float32 and int8, OpenVINO in float32, bf16 and int8, and OpenVINO
with a quantisation of its own (NNCF). One thread, batches of 8, no server. Each way has a process
in an environment of its own below build/race; they take turns. Prints JSON.

The int8 graphs are those of `convoy quantize`, which must have written NAME_int8 beside NAME.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.race.convoy_servers import OpenVino
from bench.race.environments import install
from convoy.commands.measurement.progress import progress_bar

ENVIRONMENTS = Path("build/race/environments")
NNCF = ("nncf==3.4.0", "openvino==2026.4.1")

WORKER = Path(__file__).parent / "race" / "peers" / "cpu_worker.py"

WAYS = (
    ("onnxruntime", "float32"),
    ("openvino", "float32"),
    ("openvino", "bf16"),
    ("onnxruntime", "int8"),
    ("openvino", "int8"),
    ("nncf", "int8"),
)


class Worker:
    """A process that runs one network in one way whenever it is asked to."""

    def __init__(self, python: Path, model: Path, provider: str, precision: str) -> None:
        command = [str(python), str(WORKER), str(model), provider, precision]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ask("0")  # it is open and warm

    def rate(self, seconds: float) -> float:
        """Return images per second."""
        return self._ask(str(seconds))

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    def _ask(self, seconds: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(seconds, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.cpu_providers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", default=["resnet50", "googlenet_tv"])
    parser.add_argument("--model-repository", type=Path, default=Path("build/race/models"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each way in each round")
    chosen = parser.parse_args()
    console = Console(emoji=False, stderr=True)
    pythons = {
        "onnxruntime": Path(sys.executable),
        "openvino": install("openvino", OpenVino.requirements, ENVIRONMENTS, console),
        "nncf": install("nncf", NNCF, ENVIRONMENTS, console),
    }
    found = {name: _measure(name, chosen, pythons, console) for name in chosen.names}
    print(json.dumps(found, indent=2))


def _measure(
    name: str, chosen: argparse.Namespace, pythons: dict[str, Path], console: Console
) -> dict[str, Any]:
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack, progress_bar(console) as progress:
        workers = {}
        for provider, precision in WAYS:
            # NNCF quantises the float32 graph by itself.
            given = f"{name}_int8" if precision == "int8" and provider != "nncf" else name
            model = chosen.model_repository / given / "1" / "model.onnx"
            worker = Worker(pythons[provider], model, provider, precision)
            stack.callback(worker.stop)
            workers[f"{provider} {precision}"] = worker
        for number in range(chosen.rounds):
            progress(name, number, chosen.rounds)
            for way, worker in workers.items():
                rates.setdefault(way, []).append(worker.rate(chosen.seconds))
    base = rates["onnxruntime float32"]
    return {
        way: {
            "images_per_s": round(statistics.median(seen), 1),
            "times": round(statistics.median(a / b for a, b in zip(seen, base, strict=True)), 2),
        }
        for way, seen in rates.items()
    }


if __name__ == "__main__":
    main()
