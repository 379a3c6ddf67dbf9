"""ONNX Runtime and nothing else: what a server could reach if it cost nothing."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime


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
        """As a table shows it."""
        sessions = f"{self.sessions} x " if self.sessions > 1 else ""
        runs = f", {self.runs} runs at once" if self.runs > self.sessions else ""
        return f"{sessions}{self.threads} threads{runs}{', spinning' if self.spinning else ''}"


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

    def images(self, count: int) -> npt.NDArray[np.uint8]:
        """Noise, in the input's shape."""
        shape = (count, *self._input.shape[1:])
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def images_per_s(self, batch: int, seconds: float) -> float:
        """How many images all runs together get through."""
        images, counts = self.images(batch), [0] * self._design.runs
        ends = time.perf_counter() + seconds

        def run(place: int) -> None:
            session = self._sessions[place % len(self._sessions)]
            while time.perf_counter() < ends:
                session.run(None, {self._input.name: images})
                counts[place] += batch

        started = time.perf_counter()
        threads = [threading.Thread(target=run, args=[place]) for place in range(len(counts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - started)

    def latency_s(self, seconds: float) -> float:
        """Median of one image at a time."""
        images, took = self.images(1), []
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            started = time.perf_counter()
            self._sessions[0].run(None, {self._input.name: images})
            took.append(time.perf_counter() - started)
        return statistics.median(took)
