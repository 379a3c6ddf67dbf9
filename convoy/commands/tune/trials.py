"""Runs a model in every way there is, in rounds, and chooses."""

from __future__ import annotations

import dataclasses
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from convoy.artifact.files import Artifact
from convoy.artifact.tuning import Choice, Machine
from convoy.commands.measurement.artifacts import golden_images
from convoy.commands.measurement.progress import Progress
from convoy.service.runtime.device import Device
from convoy.service.runtime.runs import batch_sizes
from convoy.service.runtime.session import Session

ROUNDS = 3
"""Each way is measured so often, in turn with the others: the machine is not the same all along."""

CALLERS_OF_A_GPU = 2
"""One whose batch runs, and one whose batch is made ready, as the server does."""

NOISE = 0.03
"""Differences of throughput below this share are none."""

_LEAST_RUNS = 5


@dataclass(slots=True)
class _Way:
    """One way to run the model, and what was seen of it."""

    threads: int
    batch_size: int
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def choice(self) -> Choice:
        return Choice(
            threads=self.threads,
            batch_size=self.batch_size,
            images_per_s=round(statistics.median(self.rates), 2),
            run_ms=round(1000 * statistics.median(self.seconds), 4),
            run_p99_ms=round(1000 * float(np.quantile(self.seconds, 0.99)), 4),
        )


def measure(
    artifact: Artifact, device: Device, *, p99_ms: float, seconds: float, show: Progress
) -> tuple[Machine, list[Choice]]:
    """
    Measure every number of threads with every batch size; on a GPU, the batch sizes.

    Batches are tried from the smallest up; once one mostly breaks *p99_ms*, larger ones are left
    out.

    Args:
        device: Where to run; its threads are tried in turn.
        seconds: How long each way is measured.
        show: Told before each turn.

    Returns:
        What it was measured on, and what was seen.
    """
    artifact = dataclasses.replace(artifact, tuning=None)
    sessions = _sessions(artifact, device)
    machine = device.machine(on_gpu=sessions[1].on_gpu)
    sizes = batch_sizes(sessions[1].max_batch_size)
    ways = [_Way(threads, size) for threads in sessions for size in sizes]
    turns = [(number, way) for number in range(ROUNDS) for way in ways]
    for done, (_, way) in enumerate(turns):
        show(
            f"{artifact.manifest.name}, {way.threads} threads, batch {way.batch_size}",
            done,
            len(turns),
        )
        if not _too_slow(way, ways, p99_ms):
            callers = CALLERS_OF_A_GPU if machine.gpu else machine.runs_at_once(way.threads)
            _run(sessions[way.threads], artifact, way, callers, seconds / ROUNDS)
    return machine, [way.choice() for way in ways if way.rates]


def choose(measured: Sequence[Choice], p99_ms: float) -> Choice | None:
    """
    What answers most images and keeps *p99_ms*; None if nothing does.

    Of those that are as good within `NOISE`, the one with the shortest latency.
    """
    within = [choice for choice in measured if request_p99_ms(choice) <= p99_ms]
    best = max((choice.images_per_s for choice in within), default=0.0)
    as_good = [choice for choice in within if choice.images_per_s >= (1 - NOISE) * best]
    return min(as_good, key=request_p99_ms, default=None)


def request_p99_ms(choice: Choice) -> float:
    """Longest time of a request under full load: for the run that is on, and for its own."""
    return 2 * choice.run_p99_ms


def thread_counts(cores: int) -> list[int]:
    """Powers of two up to *cores*, and itself."""
    return batch_sizes(cores)


def _sessions(artifact: Artifact, device: Device) -> dict[int, Session]:
    """One for each number of threads; on a GPU there is one."""
    first = Session(artifact, dataclasses.replace(device, intra_op_threads=1))
    if first.on_gpu:
        return {1: first}
    on_cpu = dataclasses.replace(device, policy="cpu")
    others = {
        threads: Session(artifact, dataclasses.replace(on_cpu, intra_op_threads=threads))
        for threads in thread_counts(device.cores)[1:]
    }
    return {1: first, **others}


def _too_slow(way: _Way, ways: Sequence[_Way], p99_ms: float) -> bool:
    """Whether a smaller batch would mostly be too slow already."""
    smaller = [w for w in ways if w.threads == way.threads and w.batch_size < way.batch_size]
    return any(2 * w.choice().run_ms > p99_ms for w in smaller if w.rates)


def _run(session: Session, artifact: Artifact, way: _Way, callers: int, seconds: float) -> None:
    images = golden_images(artifact, way.batch_size)
    session.run(images)  # the first of a size finds its memory
    took: list[list[float]] = [[] for _ in range(callers)]
    started = time.perf_counter()

    def caller(mine: list[float]) -> None:
        while time.perf_counter() < started + seconds or len(mine) < _LEAST_RUNS:
            _, times = session.run_each([images])
            mine.append(sum(times))  # without the wait for another caller's run

    threads = [threading.Thread(target=caller, args=[mine]) for mine in took]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = sum(map(len, took))
    way.rates.append(count * way.batch_size / (time.perf_counter() - started))
    way.seconds += [one for mine in took for one in mine]
