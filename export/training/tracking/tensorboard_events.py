"""TensorBoard: event files in the folder of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from convoy.artifact.files import read_manifest
from convoy.export.errors import TrackingError
from convoy.export.training.epoch_log import Epoch
from convoy.export.training.run_folder import TENSORBOARD_FOLDER
from convoy.export.training.run_record import RunRecord
from convoy.export.training.tracking.tracker import settings_of

TRAIN, VALIDATION = "train", "validation"
"""Names of the two runs, whose curves TensorBoard draws into the same charts, as those of Keras."""


class TensorBoard:
    """The event files of one training."""

    name = "TensorBoard"

    def __init__(self) -> None:
        self._writers: dict[str, SummaryWriter] = {}

    def begin(self, folder: Path, record: RunRecord, epochs: Sequence[Epoch]) -> str:
        root = folder / TENSORBOARD_FOLDER
        # The last epoch is written once more: a kill may have come between it and its events.
        missing = epochs[-1:] if root.exists() else epochs
        try:
            self._writers = {
                part: SummaryWriter(str(root / part), purge_step=max(1, len(epochs)))
                for part in (TRAIN, VALIDATION)
            }
        except OSError as error:
            raise TrackingError(f"cannot write {root}: {error.strerror}") from error
        self._write_text("settings", settings_of(record))
        for epoch in missing:
            self.epoch(epoch)
        return f"tensorboard --logdir {folder.parent}"

    def epoch(self, epoch: Epoch) -> None:
        for part, loss, accuracy in (
            (TRAIN, epoch.loss, epoch.accuracy),
            (VALIDATION, epoch.validation_loss, epoch.validation_accuracy),
        ):
            if loss is not None and accuracy is not None:
                self._writers[part].add_scalar("loss", loss, epoch.epoch)
                self._writers[part].add_scalar("accuracy", accuracy, epoch.epoch)
        self._writers[TRAIN].add_scalar("learning_rate", epoch.learning_rate, epoch.epoch)
        self._flush()

    def finish(self, folder: Path, artifact: Path | None) -> None:
        if artifact is not None:
            manifest = read_manifest(artifact)
            measured = {f"top-1 on {one.data}": one.top1 for one in manifest.evaluations}
            self._write_text(
                "artifact",
                {"folder": str(artifact), "SHA-256": manifest.model_sha256, **measured},
            )
        self._close()

    def stop(self, *, interrupted: bool) -> None:
        self._close()

    def _write_text(self, name: str, facts: Mapping[str, Any]) -> None:
        rows = [f"| {key} | {value} |" for key, value in facts.items()]
        self._writers[TRAIN].add_text(name, "\n".join(["| name | value |", "|---|---|", *rows]))
        self._flush()

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
