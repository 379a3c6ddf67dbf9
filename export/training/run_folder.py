"""The folder of a training: measurements as numbers and curves, and a checkpoint."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from convoy.export.errors import TrainingError
from convoy.export.training.epoch_log import METRICS_FILE, Epoch, write_metrics

CHECKPOINT_FILE = "checkpoint.pt"
CURVES_FILE = "curves.png"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """
    Keep other trainings out of *folder* while the block runs.

    None overwrites the checkpoint of another. The lock ends with the process, even if it is killed.

    Raises:
        TrainingError: If another training has the folder, or it cannot be made.
    """
    _make(folder)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise TrainingError(
            f"another training is running in {folder}: wait for it, or choose another --name"
        ) from error
    try:
        yield
    finally:
        os.close(lock)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot write {folder}: {error.strerror}") from error


class Run:
    """
    One training's folder.

    Args:
        folder: Created if it is missing.
        identity: The facts that distinguish this training; a checkpoint of another is ignored.

    Attributes:
        epochs: The finished epochs.
        state: State after the last finished epoch, if this training is resumed.

    Raises:
        TrainingError: If the folder cannot be made, or the checkpoint cannot be read.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        self.folder = folder
        self.epochs: list[Epoch] = []
        self.state: dict[str, Any] | None = None
        text = json.dumps(identity, sort_keys=True, default=str)
        self._identity = hashlib.sha256(text.encode()).hexdigest()
        _make(folder)
        if (folder / CHECKPOINT_FILE).exists():
            self._load(folder / CHECKPOINT_FILE)

    def _load(self, path: Path) -> None:
        try:
            saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            # Other settings or data: begin anew, and overwrite the checkpoint.
            if saved["identity"] == self._identity:
                self.epochs = [Epoch(**row) for row in saved["epochs"]]
                self.state = saved["state"]
        except Exception as error:  # torch's errors share no base class
            raise TrainingError(f"{path} is damaged; delete it to start anew: {error}") from error

    def save(self, epoch: Epoch, state: Mapping[str, Any]) -> None:
        """Keep the measurements of *epoch*, and the *state* to resume from."""
        self.epochs.append(epoch)
        rows = [asdict(row) for row in self.epochs]
        path = self.folder / CHECKPOINT_FILE
        half = path.with_suffix(".half")
        torch.save({"identity": self._identity, "epochs": rows, "state": dict(state)}, half)
        os.replace(half, path)  # a killed process leaves the checkpoint before, or this one
        write_metrics(self.epochs, self.folder / METRICS_FILE)

    def draw(self, title: str) -> Path | None:
        """Draw loss and accuracy over the epochs; None if there are none yet."""
        if not self.epochs:
            return None
        from convoy.export.training.learning_curves import draw_curves  # matplotlib takes a second

        path = self.folder / CURVES_FILE
        draw_curves({title: self.epochs}, path)
        return path

    def finish(self) -> None:
        """Delete the checkpoint, which may be large, once its weights are kept elsewhere."""
        (self.folder / CHECKPOINT_FILE).unlink(missing_ok=True)
