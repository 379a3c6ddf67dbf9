"""Trains each network of the zoo with `convoy export`; finished trainings are not repeated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from convoy.artifact.manifest import Manifest
from convoy.artifact.repository import ModelRepository
from convoy.export.recipes import recipe_for, record
from convoy.export.training.epoch_log import METRICS_FILE, Epoch, read_metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoo:
    """
    The folder of a zoo.

    Attributes:
        folder: The folder of its artifacts and trainings.
        data: The data set, as `convoy export --data` names it.
        seed: The seed of all its trainings.
        validated: Whether the weights of the best epoch by validation are taken; else all but the
            test images are trained on.
    """

    folder: Path
    data: str
    seed: int
    validated: bool = False

    @property
    def repository(self) -> ModelRepository:
        """The artifacts."""
        return ModelRepository(self.folder / "models")

    @property
    def runs(self) -> Path:
        """The folders of the trainings."""
        return self.folder / "runs"

    def manifest(self, name: str) -> Manifest | None:
        """Return the manifest of *name* if it was trained so by today's recipe, else None."""
        versions = self.repository.versions(name)
        if not versions:
            return None
        manifest = self.repository.read(name, max(versions)).manifest
        training = manifest.training
        # A network of another seed, data set, way or recipe is trained again.
        data_name = self.data.partition(":")[0]
        if training is None or (training.seed, training.data) != (self.seed, data_name):
            return None
        if (training.validation is not None) != self.validated:
            return None
        return manifest if training.recipe == record(recipe_for(name, self.data)) else None

    def epochs(self, name: str) -> list[Epoch]:
        """Return the measurements of each epoch of *name*'s training."""
        return read_metrics(self.runs / name / METRICS_FILE)


def train(zoo: Zoo, names: Sequence[str], jobs: int) -> list[str]:
    """
    Train and export those of *names* that are missing, *jobs* of them at once.

    A stopped training is resumed after its last epoch. One that fails does not stop the others.

    Returns:
        The names that failed.
    """
    zoo.folder.mkdir(parents=True, exist_ok=True)
    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        trainings = {pool.submit(_train, zoo, name, shown=jobs == 1): name for name in names}
        try:
            for number, training in enumerate(as_completed(trainings), 1):
                name = trainings[training]
                print(f"{number}/{len(names)} {name}: {training.result()}", flush=True)
                if zoo.manifest(name) is None:
                    failed.append(name)
        finally:
            # After Ctrl-C the running trainings end, and no further one begins.
            pool.shutdown(cancel_futures=True)
    return failed


def _train(zoo: Zoo, name: str, *, shown: bool) -> str:
    """Train one, with its output *shown* or in a file, and return the outcome in words."""
    if zoo.manifest(name) is not None:
        return "is there already"
    print(f"{name}: training", flush=True)
    command = [sys.executable, "-m", "convoy", "export", name, "--data", zoo.data]
    command += [] if zoo.validated else ["--train-on-validation"]
    folders = ["--model-repository", str(zoo.repository.root), "--runs", str(zoo.runs)]
    log = zoo.folder / f"{name}.log"
    with ExitStack() as stack:
        output = None if shown else stack.enter_context(log.open("w"))
        done = subprocess.run(
            [*command, *folders, "--seed", str(zoo.seed)], stdout=output, stderr=output
        )
    if done.returncode == 0:
        return "trained"
    return f"failed with exit code {done.returncode}" + ("" if shown else f", see {log}")
