"""Two contenders side by side, measured in turn."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
from rich.console import Console

from bench.race.contender import Contender
from bench.race.environments import interpreter
from bench.race.loads import AnyLoad, Arrivals, Load, Measured, warm_up_s
from bench.race.raced_model import Model
from convoy.commands.measurement.intervals import of_median
from convoy.commands.measurement.progress import progress_bar

CAPACITY = Load(connections=4, streams=4)
"""The load that measures a contender's capacity, for loads that are a share of it."""

BAD_PAIRS = 3
"""Pairs that may fail before the race does; they are printed and left out."""


@dataclass(slots=True)
class Side:
    """
    The figures of one contender, one for each turn.

    Attributes:
        measured: The figures of its answers.
        cpu_ms: CPU per request.
        memory_mb: Memory of its processes at the end.
    """

    name: str
    measured: list[Measured] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    memory_mb: float = 0.0

    def median(self, of: Callable[[Measured], float]) -> float:
        """Median of one figure."""
        return statistics.median(map(of, self.measured))


@contextmanager
def running(
    kind: type[Contender], model: Model, root: Path, console: Console
) -> Iterator[Contender]:
    """
    Start a contender and yield it once its answers are correct.

    Raises:
        RuntimeError: If it does not start, or its answers are wrong.
    """
    python = interpreter(kind, root, console)
    with tempfile.TemporaryDirectory(prefix="race-") as folder:
        contender = kind(model, python.absolute(), Path(folder))
        try:
            _check(contender, model)
            yield contender
        finally:
            contender.stop()


def race(
    contenders: Sequence[Contender], load: AnyLoad, *, pairs: int, seconds: float, console: Console
) -> list[Side]:
    """
    Measure each of *contenders* in turn, *pairs* times; each begins every other pair.

    Raises:
        RuntimeError: If too many turns fail.
    """
    sides = [Side(contender.name) for contender in contenders]
    title = " / ".join(side.name for side in sides)
    settled = load.settled(lambda: min(_capacity(one, seconds) for one in contenders))
    failed = 0
    # The side that is measured first may find the machine in another state: they alternate.
    with progress_bar(console) as progress:
        for number in range(pairs):
            progress(title, number, pairs)
            try:
                turns = _turns(contenders, settled, seconds, first=number % 2)
            except (RuntimeError, subprocess.CalledProcessError) as error:
                # Other work on the machine can break one pair; more than a few are a fault.
                failed += 1
                if failed > BAD_PAIRS:
                    raise
                console.print(f"a pair is left out: {error}")
                continue
            for side, (measured, cpu_ms) in zip(sides, turns, strict=True):
                side.measured.append(measured)
                side.cpu_ms.append(cpu_ms)
    for contender, side in zip(contenders, sides, strict=True):
        side.memory_mb = contender.memory_bytes() / 1e6
    return sides


def ratio(sides: Sequence[Side], of: Callable[[Measured], float]) -> tuple[float, float, float]:
    """Return the median of the first side's figure by the second's, and its 95 % interval."""
    first, second = ([of(one) for one in side.measured] for side in sides)
    ratios = [one / other for one, other in zip(first, second, strict=True)]
    return (statistics.median(ratios), *of_median(ratios))


Turn = tuple[Measured, float]
"""The figures of a load, and CPU per request in milliseconds."""


def _turns(
    contenders: Sequence[Contender], load: Load | Arrivals, seconds: float, *, first: int
) -> list[Turn]:
    """Measure each once, beginning with place *first*; return in the order of *contenders*."""
    order = sorted(range(len(contenders)), key=lambda place: place != first)
    turns = {place: _turn(contenders[place], load, seconds) for place in order}
    return [turns[place] for place in range(len(contenders))]


def _turn(contender: Contender, load: Load | Arrivals, seconds: float) -> Turn:
    before = contender.cpu_s()
    measured = contender.measure(load, seconds)

    # The warm-up is part of the CPU time, so its requests count, at the measured rate.
    used = contender.cpu_s() - before
    return measured, 1000 * used / (measured.per_s * (seconds + warm_up_s(seconds)))


def _capacity(contender: Contender, seconds: float) -> float:
    return contender.measure(CAPACITY, seconds).per_s


def _check(contender: Contender, model: Model) -> None:
    session = onnxruntime.InferenceSession(model.path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["logits"], {"image": model.image()[np.newaxis]})
    difference = np.abs(np.asarray(contender.logits()) - expected[0]).max()
    if not difference <= contender.tolerance * np.ptp(expected):
        raise RuntimeError(f"{contender.name} answers {difference} off")
