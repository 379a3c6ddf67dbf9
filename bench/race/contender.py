"""The interface of a server, or a bare runtime, in a race."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from bench.race.loads import Arrivals, Load, Measured
from bench.race.raced_model import Model


class Contender(ABC):
    """
    One model that is ready for requests.

    `requirements` are installed for it, and its logits may differ from ONNX Runtime's by
    `tolerance`, as a share of their range.

    Args:
        model: The model.
        python: Interpreter of the environment that its requirements are installed in.
        folder: An empty folder for its files.
    """

    name: ClassVar[str]
    requirements: ClassVar[tuple[str, ...]] = ()
    tolerance: ClassVar[float] = 1e-3

    def __init__(self, model: Model, python: Path, folder: Path) -> None:
        self.model = model
        self.python = python
        self.folder = folder

    @abstractmethod
    def logits(self) -> list[float]:
        """Return the logits of the model's image."""

    @abstractmethod
    def measure(self, load: Load | Arrivals, seconds: float) -> Measured:
        """
        Measure it under *load* for *seconds*, after a warm-up.

        Raises:
            RuntimeError: If a request fails.
        """

    @abstractmethod
    def cpu_s(self) -> float:
        """Return the CPU time that its processes have used, in seconds."""

    @abstractmethod
    def memory_bytes(self) -> int:
        """Return the memory of its processes; shared pages count once."""

    @abstractmethod
    def stop(self) -> None:
        """End its processes."""
