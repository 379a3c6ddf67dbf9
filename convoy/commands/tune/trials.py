"""Trials of a model in every way that it may run on this machine, and the best of them."""

from __future__ import annotations

import dataclasses
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from convoy.artifact.files import Artifact
from convoy.artifact.tuning import Choice, CpuPrecision, CpuProvider, Machine
from convoy.commands.measurement.artifacts import golden_images
from convoy.commands.measurement.progress import Progress
from convoy.service.errors import ModelLoadError
from convoy.service.runtime.device import Cpu, CpuRun, Device
from convoy.service.runtime.openvino import has_openvino
from convoy.service.runtime.runs import batch_sizes
from convoy.service.runtime.session import Session

ROUNDS = 3
"""The turns in which each way is measured, as the speed of a machine varies over time."""

CALLERS_OF_A_GPU = 2
"""One caller whose batch runs, and one whose batch is being prepared, as in the server."""

NOISE = 0.03
"""The relative difference of throughput below which two ways are equally good."""

WAITED_RUNS = 2
"""The runs that a request takes at most under full load: the one in progress, and its own."""

_LEAST_RUNS = 5


@dataclass(slots=True)
class _Way:
    """One way to run the model, and its measurements; the p99 of each turn also on its own."""

    run: CpuRun
    batch_size: int
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    p99s_ms: list[float] = field(default_factory=list)

    def add(self, rate: float, seconds: list[float]) -> None:
        self.rates.append(rate)
        self.seconds += seconds
        self.p99s_ms.append(_p99_ms(seconds))

    def choice(self) -> Choice:
        return Choice(
            provider=self.run.provider,
            precision=self.run.precision,
            threads=self.run.threads,
            batch_size=self.batch_size,
            images_per_s=round(statistics.median(self.rates), 2),
            run_ms=round(1000 * statistics.median(self.seconds), 4),
            run_p99_ms=_p99_ms(self.seconds),
            run_p99_spread_ms=(min(self.p99s_ms), max(self.p99s_ms)),
        )


class Trials(NamedTuple):
    """
    The measurements of a model.

    Attributes:
        machine: The machine that they hold for.
        measured: The measurement of each way.
        left_out: Reasons why some ways could not be measured.
    """

    machine: Machine
    measured: list[Choice]
    left_out: list[str]


def measure(
    artifact: Artifact, device: Device, *, p99_ms: float, seconds: float, show: Progress
) -> Trials:
    """
    Measure every provider and precision that *device* allows, with every number of threads and
    every batch size; on a GPU, the batch sizes only.

    Batch sizes ascend; after one that mostly exceeds *p99_ms*, larger ones are omitted.

    Args:
        device: The device to run on; its number of threads is varied, and so are the provider, if
            that is `auto`, and the precision, if that is `bf16`.
        p99_ms: The time within which 99 of 100 requests must be answered.
        seconds: The time for which each way is measured.
        show: Called before each turn.

    Returns:
        The measurements.

    Raises:
        ModelLoadError: If the model cannot be opened in a way that *device* does not leave open.
    """
    # An earlier tuning would choose the threads of every session.
    artifact = dataclasses.replace(artifact, tuning=None)
    sessions, left_out = _sessions(artifact, device)
    first = next(iter(sessions.values()))
    machine = device.machine(on_gpu=first.on_gpu)
    ways = [_Way(run, size) for run in sessions for size in batch_sizes(first.max_batch_size)]
    turns = [(number, way) for number in range(ROUNDS) for way in ways]
    for done, (_, way) in enumerate(turns):
        show(f"{artifact.manifest.name}, {_title(way)}", done, len(turns))
        if not _too_slow(way, ways, p99_ms):  # else larger batches only waste time
            callers = CALLERS_OF_A_GPU if machine.gpu else machine.runs_at_once(way.run.threads)
            _run(sessions[way.run], artifact, way, callers, seconds / ROUNDS)
    return Trials(machine, [way.choice() for way in ways if way.rates], left_out)


def choose(measured: Sequence[Choice], p99_ms: float) -> Choice | None:
    """
    Return the choice with the highest throughput that meets *p99_ms*; None if there is none.

    Among choices whose throughput is equal within `NOISE`, take the one with the lowest latency.
    """
    within = [choice for choice in measured if request_p99_ms(choice) <= p99_ms]
    best = max((choice.images_per_s for choice in within), default=0.0)
    as_good = [choice for choice in within if choice.images_per_s >= (1 - NOISE) * best]
    return min(as_good, key=request_p99_ms, default=None)


def request_p99_ms(choice: Choice) -> float:
    """Return the longest time of a request under full load: it waits for one run, then runs."""
    return WAITED_RUNS * choice.run_p99_ms


def thread_counts(cores: int) -> list[int]:
    """Return the powers of two up to *cores*, and *cores* itself."""
    return batch_sizes(cores)


def providers(cpu: Cpu) -> list[tuple[CpuProvider, CpuPrecision]]:
    """Return the providers to measure on a processor, with the precision of each."""
    found: list[tuple[CpuProvider, CpuPrecision]] = []
    if cpu.provider != "openvino":
        found.append(("onnxruntime", "float32"))
    if cpu.provider == "openvino" or (cpu.provider == "auto" and has_openvino()):
        found.append(("openvino", "float32"))
    # Without OpenVINO, the session's error says what to install.
    if cpu.precision == "bf16":
        found.append(("openvino", "bf16"))
    return found


def _sessions(artifact: Artifact, device: Device) -> tuple[dict[CpuRun, Session], list[str]]:
    """
    Open a session for each provider, precision and number of threads; on a GPU, one.

    Also return why a provider was left out that may be left out.
    """
    runs = [
        CpuRun(provider, precision, threads)
        for provider, precision in providers(device.cpu)
        for threads in thread_counts(device.cores)
    ]
    first = Session(artifact, _only(device, runs[0]))
    if first.on_gpu:  # the options of the CPU make no difference there
        return {runs[0]: first}, []
    # auto has settled on the CPU: the other sessions must not look for a GPU again.
    on_cpu = dataclasses.replace(device, policy="cpu")
    sessions, left_out = {runs[0]: first}, []
    for run in runs[1:]:
        try:
            sessions[run] = Session(artifact, _only(on_cpu, run))
        except ModelLoadError as error:
            if device.cpu.provider != "auto":
                raise
            left_out.append(str(error))
    return sessions, left_out


def _only(device: Device, run: CpuRun) -> Device:
    """Return *device* with no other choice than *run*."""
    cpu = Cpu(provider=run.provider, precision=run.precision)
    return dataclasses.replace(device, cpu=cpu, intra_op_threads=run.threads)


def _title(way: _Way) -> str:
    run = way.run
    return f"{run.provider} in {run.precision}, {run.threads} threads, batch {way.batch_size}"


def _too_slow(way: _Way, ways: Sequence[_Way], p99_ms: float) -> bool:
    """Return whether a smaller batch already exceeds *p99_ms* in most requests."""
    smaller = [w for w in ways if w.run == way.run and w.batch_size < way.batch_size]
    return any(WAITED_RUNS * w.choice().run_ms > p99_ms for w in smaller if w.rates)


def _run(session: Session, artifact: Artifact, way: _Way, callers: int, seconds: float) -> None:
    images = golden_images(artifact, way.batch_size)
    session.run(images)  # the first run of a size allocates its memory
    took: list[list[float]] = [[] for _ in range(callers)]
    started = time.perf_counter()

    def caller(mine: list[float]) -> None:
        while time.perf_counter() < started + seconds or len(mine) < _LEAST_RUNS:
            _, times = session.runner.run([images])
            # Without the wait for another caller's run.
            mine.append(times.input_s + times.infer_s + times.output_s)

    threads = [threading.Thread(target=caller, args=[mine]) for mine in took]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = sum(map(len, took))
    rate = count * way.batch_size / (time.perf_counter() - started)
    way.add(rate, [one for mine in took for one in mine])


def _p99_ms(seconds: Sequence[float]) -> float:
    # One of the values: interpolated between few of them, the p99 of all turns together may lie
    # outside the range of the p99 of each turn.
    return round(1000 * float(np.quantile(seconds, 0.99, method="inverted_cdf")), 4)
