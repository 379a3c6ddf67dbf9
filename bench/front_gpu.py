"""Front processes before a GPU: `python -m bench.front_gpu`; prints a table in Markdown.

A ResNet-50 in float16, with random weights, answers single images from h2load: uint8 tensors of
150 kB and JPEGs of 500x375 pixels. The rate of a row is the best one with a p99 below 20 ms, over
several numbers of requests in flight. It takes less than 20 minutes on a machine with one GPU. By
default, there is a front for each core but one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trustme
from rich.console import Console

from bench.fronts import Kind, Server, tensor_or_photo
from bench.race.h2load import measure
from bench.race.loads import Load, Measured
from bench.race.networks import import_network, write_networks
from convoy.artifact.repository import ModelRepository
from convoy.export.onnx.half_precision import halve
from convoy.service.machine.resources import usable_cpus
from tests.harness.server_process import ServerProcess

MODEL = "resnet50_fp16"
MAX_BATCH_SIZE = 32

P99_MS = 20.0
BOUNDS = {"tensor": 9_000, "jpeg": 8_000}
"""Images per second that one H100 or H200 is to answer, by request."""

STREAMS = (1, 2, 4, 8)
"""Requests in flight on each of four connections to each front."""


class Best(NamedTuple):
    """The load with the highest rate whose p99 is below the limit."""

    load: Load
    measured: Measured


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.front_gpu", description=__doc__)
    parser.add_argument("--fronts", type=int, default=max(1, usable_cpus() - 1))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--repository", type=Path, default=Path("build/race/models"))
    options = parser.parse_args()
    console = Console(emoji=False, stderr=True)
    write_networks(options.repository, console, ["resnet50"])
    if not (options.repository / MODEL).exists():
        _write_half(options.repository, console)
    print("| request | transport | images/s | p50 | p99 | in flight | bound |")
    print("|---|---|---|---|---|---|---|")
    for transport in ("grpcio", *(["native"] if find_spec("pygrpc_native") else [])):
        for line in _lines(transport, options):
            print(line, flush=True)
    return 0


def _write_half(root: Path, console: Console) -> None:
    """Write ResNet-50 in half precision beside the one in float32."""
    console.print(f"{MODEL}: converting to half precision")
    image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder) / "half.onnx"
        halve(ModelRepository(root).read("resnet50", 1).model_path, half, [image])
        import_network(
            half, MODEL, root, console, architecture="resnet50", max_batch_size=MAX_BATCH_SIZE
        )


def _lines(transport: str, options: argparse.Namespace) -> Iterator[str]:
    served = ("--model-control-mode", "explicit", "--load-model", MODEL)
    started = ("--device", options.device, "--front-processes", str(options.fronts))
    arguments = (*served, *started, "--transport", transport)
    with ServerProcess(options.repository, *arguments) as process:
        server = Server(Kind("fronts", options.fronts, transport), process, trustme.CA())
        for request, bound in BOUNDS.items():
            yield _line(request, transport, bound, _best(server, request, options))


def _best(server: Server, name: str, options: argparse.Namespace) -> Best | None:
    request, found = tensor_or_photo(server, name, MODEL), list[Best]()
    for streams in STREAMS:
        load = Load(4 * options.fronts, streams)
        measured = measure(request, load, options.seconds)
        if measured.p99_ms >= P99_MS:
            break  # more requests in flight only wait longer
        found.append(Best(load, measured))
    return max(found, key=lambda best: best.measured.per_s, default=None)


def _line(request: str, transport: str, bound: int, best: Best | None) -> str:
    if best is None:
        return f"| {request} | {transport} | p99 above {P99_MS:g} ms | | | | {bound:,}/s, missed |"
    load, measured = best
    met = f"{bound:,}/s" if measured.per_s >= bound else f"{bound:,}/s, missed"
    figures = f"{measured.per_s:,.0f}/s | {measured.p50_ms:.1f} ms | {measured.p99_ms:.1f} ms"
    return f"| {request} | {transport} | {figures} | {load.in_flight} | {met} |"


if __name__ == "__main__":
    raise SystemExit(main())
