"""Whoever takes part in a race."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from bench.race.loads import Arrivals, Load, Measured
from bench.race.raced_model import Model


class Contender(ABC):
    """
    One model, ready to be asked.

    Args:
        model: The model.
        python: Interpreter of the environment that its requirements are installed in.
        folder: An empty folder for its files.
    """

    name: ClassVar[str]
    requirements: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: Model, python: Path, folder: Path) -> None:
        self.model = model
        self.python = python
        self.folder = folder

    @abstractmethod
    def logits(self) -> list[float]:
        """What it answers to the model's image."""

    @abstractmethod
    def measure(self, load: Load | Arrivals, seconds: float) -> Measured:
        """
        Put *load* on it, after a while to warm up.

        Raises:
            RuntimeError: If a request fails.
        """

    @abstractmethod
    def cpu_s(self) -> float:
        """CPU that its processes have used, in seconds."""

    @abstractmethod
    def memory_bytes(self) -> int:
        """Their memory, pages that they share counted once."""

    @abstractmethod
    def stop(self) -> None:
        """End its processes."""
