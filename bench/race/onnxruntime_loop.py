"""ONNX Runtime and nothing else: the throughput of a server that cost nothing."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
import time
from dataclasses import dataclass
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnxruntime
import psutil

from bench.race.contender import Contender
from bench.race.loads import Arrivals, Load, Measured, warm_up_s
from bench.race.raced_model import Model


@dataclass(frozen=True, slots=True)
class Design:
    """
    One way to use the cores.

    Attributes:
        threads: Intra-op threads of each session.
        sessions: Sessions, each with weights of its own.
        runs: Runs at once, dealt out to the sessions.
        spinning: Whether threads spin while they wait for work.
    """

    threads: int
    sessions: int = 1
    runs: int = 1
    spinning: bool = False

    @property
    def name(self) -> str:
        """The name in a table."""
        sessions = f"{self.sessions} x " if self.sessions > 1 else ""
        runs = f", {self.runs} runs at once" if self.runs > self.sessions else ""
        return f"{sessions}{self.threads} threads{runs}{', spinning' if self.spinning else ''}"


DESIGNS = (
    Design(threads=2),
    Design(threads=2, runs=2),
    Design(threads=1, runs=2),
    Design(threads=1, sessions=2, runs=2),
    Design(threads=2, spinning=True),
    Design(threads=2, runs=2, spinning=True),
)
"""The ways to use two cores."""

BATCHES = (1, 4, 8)

ROUNDS = 2
"""Measurements of each design that find the fastest."""


class Loop:
    """The sessions of one design, open and warm."""

    def __init__(self, model: str, design: Design) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = design.threads
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", str(int(design.spinning))
        )
        self._design = design
        self._sessions = [
            onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
            for _ in range(design.sessions)
        ]
        self._input = self._sessions[0].get_inputs()[0]
        for session in self._sessions:
            session.run(None, {self._input.name: self.images(1)})

    def pid(self) -> int:
        """Return the identifier of its process."""
        return os.getpid()

    def logits(self, image: npt.NDArray[np.uint8]) -> list[float]:
        """Return the logits of one image."""
        (logits,) = self._sessions[0].run(["logits"], {self._input.name: image[np.newaxis]})
        return list(logits[0])

    def images(self, count: int) -> npt.NDArray[np.uint8]:
        """Return *count* images of noise: uint8 `[count, *input shape]`."""
        shape = (count, *self._input.shape[1:])
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def measure(self, batch: int, seconds: float, runs: int | None = None) -> Measured:
        """Measure *runs* at once (the design's by default); the latency is that of one run."""
        images = self.images(batch)
        took: list[float] = []
        ends = time.perf_counter() + seconds

        def run(session: onnxruntime.InferenceSession) -> None:
            while (started := time.perf_counter()) < ends:
                session.run(None, {self._input.name: images})
                took.append(time.perf_counter() - started)

        started = time.perf_counter()
        sessions = itertools.islice(itertools.cycle(self._sessions), runs or self._design.runs)
        threads = [threading.Thread(target=run, args=[session]) for session in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        per_s = batch * len(took) / (time.perf_counter() - started)
        return Measured(per_s, *(1000 * float(ms) for ms in np.percentile(took, [50, 99])))


class _Loops(BaseManager):
    """A process with loops in it."""

    if TYPE_CHECKING:

        def Loop(self, model: str, design: Design) -> Loop: ...  # noqa: N802


_Loops.register("Loop", Loop)


def _loops() -> _Loops:
    loops = _Loops(ctx=multiprocessing.get_context("spawn"))
    loops.start()
    return loops


class Alone(Contender):
    """The fastest loop over threads, sessions, runs at once and batch sizes."""

    name = "ONNX Runtime alone"

    def __init__(self, model: Model, python: Path, folder: Path) -> None:
        super().__init__(model, python, folder)
        design, self._batch = self._choose()
        self._loops = _loops()
        self._loop = self._loops.Loop(str(model.path), design)
        self._process = psutil.Process(self._loop.pid())

    def logits(self) -> list[float]:
        """Return the logits of the model's image."""
        return self._loop.logits(self.model.image())

    def measure(self, load: Load | Arrivals, seconds: float) -> Measured:
        """Run for *seconds*; the design, and not *load*, sets the concurrency."""
        assert isinstance(load, Load)
        self._loop.measure(self._batch, warm_up_s(seconds))
        return self._loop.measure(self._batch, seconds)

    def cpu_s(self) -> float:
        """CPU that its process has used, in seconds."""
        return sum(self._process.cpu_times()[:2])

    def memory_bytes(self) -> int:
        """Its memory."""
        return int(self._process.memory_full_info().pss)

    def stop(self) -> None:
        """End its process."""
        self._loops.shutdown()

    def _choose(self) -> tuple[Design, int]:
        """Return the fastest design and its best batch, by the median of rounds of one second."""
        # All designs are open at once and take turns, so that a disturbance meets each of them.
        with _loops() as loops:
            open_loops = {design: loops.Loop(str(self.model.path), design) for design in DESIGNS}
            rates: dict[tuple[Design, int], list[float]] = {}
            for _ in range(ROUNDS):
                for (design, loop), batch in itertools.product(open_loops.items(), BATCHES):
                    rates.setdefault((design, batch), []).append(loop.measure(batch, 1.0).per_s)
        return max(rates, key=lambda which: float(np.median(rates[which])))


class Bare(Alone):
    """`session.run` with ONNX Runtime's own settings on all cores, one image at a time."""

    name = "ONNX Runtime alone, one at a time"

    def _choose(self) -> tuple[Design, int]:
        return Design(threads=self.model.threads, spinning=True), 1
