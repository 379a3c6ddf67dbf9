"""The cost of logging predictions, drift, traces and shadow versions.

`python -m bench.production_costs [--before COMMIT]`: two servers, one with a part on and one with
all off, answer the same images in turns. Prints a Markdown table of the ratios of both: processor
time per image of the server, and images per second. The first row compares two servers with all
off, which shows the noise; with a commit, the last row compares a server of this code with one of
that commit. Takes 8 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil

from convoy import AsyncClient
from convoy.artifact.baseline import write_baseline
from convoy.artifact.repository import ModelRepository
from convoy.export import data
from convoy.export.baseline import measure
from convoy.export.data.split import Split
from tests.harness.collector import Collector
from tests.harness.lenet import LENET, LENET_REPOSITORY, add_version
from tests.harness.server_process import ServerProcess

MODEL = "lenet5"
SERVE = ("--model-control-mode", "explicit", "--load-model", MODEL)

ROUNDS = 9
SECONDS = 3.0
"""Time of one server in a round."""

CONCURRENCY = 32


class Part(NamedTuple):
    """
    A part of the server to measure.

    Attributes:
        options: Flags that turn it on.
        shadows: Whether version 2 then runs as a shadow.
        commit: The commit whose code the other server runs; empty for this one.
    """

    options: tuple[str, ...] = ()
    shadows: bool = False
    commit: str = ""


class Figures(NamedTuple):
    """Processor seconds of the server for an image, and images per second."""

    processor_s: float
    per_s: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.production_costs", description=__doc__)
    parser.add_argument("--before", default="", help="Compare with this commit, too, with all off.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    chosen = parser.parse_args()
    print("| on | processor time per image | images/s |")
    print("|---|---|---|")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="convoy-")))
        collector = stack.enter_context(Collector())
        os.environ |= {  # noqa: TID251
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.grpc_port}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.01",
        }
        digits = data.load("hard5k")
        repository = _repository(folder / "models", digits.validation)
        # Enough images that the log seldom has one of them already.
        images = itertools.cycle(map(digits.train.image, range(len(digits.train))))
        for name, part in _parts(folder / "log", chosen.before).items():
            pairs = _measure(repository, part, images, chosen.rounds, chosen.seconds)
            print(f"| {name} | {_ratio(pairs, 0)} | {_ratio(pairs, 1)} |", flush=True)


def _parts(log: Path, before: str) -> Mapping[str, Part]:
    """Return the parts by their names in the table."""
    share = ("--prediction-log-share", "0.01")
    drift, traces = ("--drift",), ("--traces", "calls")
    images = ("--prediction-log", f"{log}-images", *share, "--prediction-log-images")
    parts = {
        "nothing: two equal servers": Part(),
        "prediction log, share 0.01": Part(("--prediction-log", str(log), *share)),
        "prediction log with images, share 0.01": Part(images),
        "drift": Part(drift),
        "traces of calls, 1 % sampled": Part(traces),
        "shadow version, share 0.1": Part(shadows=True),
        "all of them": Part((*images, *drift, *traces), shadows=True),
    }
    return parts | ({f"nothing: against {before}": Part(commit=before)} if before else {})


def _repository(root: Path, images: Split) -> Path:
    """Write LeNet-5 twice, the first time with a baseline of *images*."""
    for _ in range(2):
        folder = add_version(root, MODEL)
    manifest = ModelRepository(root).read(MODEL, 1).manifest
    baseline, _ = measure(
        LENET / "model.onnx",
        manifest,
        images,
        name="hard5k, validation part",
        sha256=manifest.model_sha256,
        show=lambda done, total: None,
    )
    write_baseline(folder.with_name("1"), baseline)
    return root


def _measure(
    repository: Path, part: Part, images: Iterator[bytes], rounds: int, seconds: float
) -> list[tuple[Figures, Figures]]:
    """Return the figures with *part* and without, of each round."""
    only_first = ("--version-policy", f"{MODEL}=specific:1")
    with ExitStack() as stack:
        with_part = ServerProcess(repository, *SERVE, *only_first, *part.options)
        stack.enter_context(with_part)
        if part.shadows:
            shadow = ["convoy", "shadow", MODEL, "2", "--share", "0.1"]
            _run(*shadow, "--address", with_part.address)
        environment = _environment(part.commit, stack)
        # Older code refuses the file of the baseline.
        plain = LENET_REPOSITORY if part.commit else repository
        without = ServerProcess(plain, *SERVE, *only_first, environment=environment)
        stack.enter_context(without)
        servers, pairs = (with_part, without), []
        for number in range(-1, rounds):
            # Each begins every other round, so that a trend on the machine affects both alike.
            order = servers if number % 2 else servers[::-1]
            found = {server: asyncio.run(_load(server, images, seconds)) for server in order}
            if number >= 0:  # the first round warms up
                pairs.append((found[with_part], found[without]))
    return pairs


def _environment(commit: str, stack: ExitStack) -> dict[str, str] | None:
    """Return variables with which Python imports convoy of *commit*."""
    if not commit:
        return None
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="convoy-"))) / "before"
    subprocess.run(["git", "worktree", "add", "-q", "--detach", folder, commit], check=True)
    remove = ["git", "worktree", "remove", "--force", str(folder)]
    stack.callback(lambda: subprocess.run(remove, check=True))
    # Without the safe path, the convoy of the working directory would come first.
    paths = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    return {**os.environ, **paths}  # noqa: TID251


def _run(*command: str) -> None:
    subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)


async def _load(server: ServerProcess, images: Iterator[bytes], seconds: float) -> Figures:
    """Keep `CONCURRENCY` calls in flight."""
    process = psutil.Process(server.process.pid)
    async with AsyncClient(server.address) as client:
        before, started = sum(process.cpu_times()[:2]), time.monotonic()

        async def ask() -> int:
            count = 0
            while time.monotonic() < started + seconds:
                await client.classify(next(images), model=MODEL)
                count += 1
            return count

        count = sum(await asyncio.gather(*(ask() for _ in range(CONCURRENCY))))
        spent = sum(process.cpu_times()[:2]) - before
        return Figures(spent / count, count / (time.monotonic() - started))


def _ratio(pairs: list[tuple[Figures, Figures]], which: int) -> str:
    """Return the median of the ratios with to without, and the quartiles."""
    ratios = [one[which] / other[which] for one, other in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{statistics.median(ratios):.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
