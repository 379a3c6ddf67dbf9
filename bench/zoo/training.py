"""Trains each network of the zoo with `convoy export`; what is done already is not done again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from artifact.manifest import Manifest
from artifact.repository import ModelRepository
from export.metrics import METRICS_FILE, Epoch, read_metrics
from export.recipes import SMALL, record

DATA = "hard5k"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoo:
    """
    Where a zoo lives.

    Attributes:
        folder: Of its artifacts and trainings.
        seed: Of all its trainings.
    """

    folder: Path
    seed: int

    @property
    def repository(self) -> ModelRepository:
        """The artifacts."""
        return ModelRepository(self.folder / "models")

    @property
    def runs(self) -> Path:
        """The folders of the trainings."""
        return self.folder / "runs"

    def manifest(self, name: str) -> Manifest | None:
        """What was trained as *name* last, if it was by today's recipe and this seed."""
        versions = self.repository.versions(name)
        if not versions:
            return None
        manifest = self.repository.read(name, max(versions)).manifest
        training = manifest.training
        if training is None or (training.seed, training.data) != (self.seed, DATA):
            return None
        return manifest if training.recipe == record(SMALL[name]) else None

    def epochs(self, name: str) -> list[Epoch]:
        """What each epoch of *name*'s training measured."""
        return read_metrics(self.runs / name / METRICS_FILE)


def train(zoo: Zoo, names: Sequence[str]) -> None:
    """
    Train and export those of *names* that are not there yet, one after the other.

    A training that was stopped goes on after its last epoch.

    Raises:
        subprocess.CalledProcessError: If an export fails; it has said why.
    """
    for number, name in enumerate(names, 1):
        print(f"\n{number}/{len(names)} {name}", flush=True)
        if zoo.manifest(name) is not None:
            print("is there already", flush=True)
            continue
        command = [sys.executable, "-m", "convoy", "export", name, "--data", DATA]
        folders = ["--model-repository", str(zoo.repository.root), "--runs", str(zoo.runs)]
        subprocess.run([*command, *folders, "--seed", str(zoo.seed)], check=True)
