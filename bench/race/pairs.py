"""Two servers side by side, asked in turn."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
from rich.console import Console

from bench.intervals import of_median
from bench.progress import shown
from bench.race.environments import interpreter
from bench.race.h2load import Load, Measured, measure
from bench.race.model import Model
from bench.race.servers import Server

TOLERANCE = 1e-3
"""How far the logits of a server may be from ONNX Runtime's, as a share of their range."""


@dataclass(slots=True)
class Side:
    """
    What one of the two showed, one value for each time it was asked.

    Attributes:
        measured: What h2load saw.
        cpu_ms: CPU of the server and its children, per request.
        memory_mb: Their memory at the end.
    """

    name: str
    measured: list[Measured] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    memory_mb: float = 0.0

    def median(self, of: Callable[[Measured], float]) -> float:
        """Median of one figure."""
        return statistics.median(map(of, self.measured))


@contextmanager
def running(kind: type[Server], model: Model, root: Path, console: Console) -> Iterator[Server]:
    """
    A server, once its answers are right.

    Raises:
        RuntimeError: If it does not start, or its answers are wrong.
    """
    python = interpreter(kind, root, console)
    with tempfile.TemporaryDirectory(prefix="race-") as folder:
        server = kind(model, python.absolute(), Path(folder))
        try:
            _check(server, model)
            yield server
        finally:
            server.process.stop()


def race(
    servers: Sequence[Server], load: Load, *, pairs: int, seconds: float, console: Console
) -> list[Side]:
    """Ask each of *servers* in turn, *pairs* times, the first one first every other time."""
    sides = [Side(server.name) for server in servers]
    title = " / ".join(side.name for side in sides)
    with shown(console) as progress:
        for number in range(pairs):
            progress(title, number, pairs)
            order = list(zip(servers, sides, strict=True))
            for server, side in order if number % 2 == 0 else reversed(order):
                _measure(server, side, load, seconds)
    for server, side in zip(servers, sides, strict=True):
        side.memory_mb = server.process.memory_bytes() / 1e6
    return sides


def ratio(sides: Sequence[Side], of: Callable[[Measured], float]) -> tuple[float, float, float]:
    """Median of the first side's figure by the second's, pair by pair, and its 95 % interval."""
    first, second = ([of(one) for one in side.measured] for side in sides)
    ratios = [one / other for one, other in zip(first, second, strict=True)]
    return (statistics.median(ratios), *of_median(ratios))


def _measure(server: Server, side: Side, load: Load, seconds: float) -> None:
    before = server.process.cpu_s()
    warm_up_s = seconds / 4
    measured = measure(server.request, load, seconds=seconds, warm_up_s=warm_up_s)
    used = server.process.cpu_s() - before
    side.measured.append(measured)
    side.cpu_ms.append(1000 * used / (measured.per_s * (seconds + warm_up_s)))


def _check(server: Server, model: Model) -> None:
    session = onnxruntime.InferenceSession(model.path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["logits"], {"image": model.image()[np.newaxis]})
    difference = np.abs(np.asarray(server.logits()) - expected[0]).max()
    if not difference <= TOLERANCE * np.ptp(expected):
        raise RuntimeError(f"{server.name} answers {difference} off")
