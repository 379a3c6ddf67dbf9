"""The common interface of trackers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from convoy.export.errors import TrackingError
from convoy.export.export_settings import TrackerName
from convoy.export.training.epoch_log import Epoch
from convoy.export.training.run_record import RunRecord


class Tracker(Protocol):
    """
    A program that records a training. Each method may raise `TrackingError`.

    Attributes:
        name: Its name.
    """

    name: str

    def begin(self, folder: Path, record: RunRecord, epochs: Sequence[Epoch]) -> str:
        """
        Begin to record the training in *folder*, or go on after *epochs*.

        Returns:
            The place of the recording, for people.
        """

    def epoch(self, epoch: Epoch) -> None:
        """Record the measurements of one epoch."""

    def finish(self, folder: Path, artifact: Path | None) -> None:
        """End the recording; *artifact* is the folder of the exported version, if there is one."""

    def stop(self, *, interrupted: bool) -> None:
        """Note that the training was *interrupted*, or failed. The same training may go on."""


def make_trackers(names: Sequence[TrackerName]) -> tuple[Tracker, ...]:
    """
    Make the trackers *names*; nothing is recorded yet.

    Raises:
        TrackingError: If the package of one is missing.
    """
    return tuple(_make(name) for name in dict.fromkeys(names))


def _make(name: TrackerName) -> Tracker:
    # Before the images are read, which may take minutes.
    if find_spec(name) is None:
        raise TrackingError(
            f"--track {name} needs the package {name}: in convoy's folder, pip install '.[{name}]'"
        )
    if name == "tensorboard":
        from convoy.export.training.tracking.tensorboard_events import TensorBoard

        return TensorBoard()
    from convoy.export.training.tracking.mlflow_run import MLflow

    return MLflow()


def settings_of(record: RunRecord) -> dict[str, Any]:
    """Return the settings and the origin of a training as plain values, by names with dots."""
    training = record.training
    facts = {
        "command": record.command,
        "architecture": record.architecture,
        "data": training.data,
        "data_sha256": training.data_sha256,
        "images": training.images,
        "classes": len(record.labels),
        "input_px": record.preprocessing.height,
        "seed": training.seed,
        "device": training.device,
        "weights": None if record.weights is None else record.weights.source,
        "recipe": training.recipe,
        "versions": record.tools,
        "git": record.git,
    }
    return _flat(facts)


def _flat(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        key = f"{prefix}{name}"
        flat |= _flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return flat
