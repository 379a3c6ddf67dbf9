"""The folder of a training: measurements and curves, kept weights, and a checkpoint until its end.

`run.json` states their origin. With the checkpoint, the same command resumes an unfinished
training; a command with other options is refused then. The files of a finished training are never
overwritten, but moved aside; a training that makes the same weights again replaces them.
"""

from __future__ import annotations

import fcntl
import filecmp
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from convoy.export.errors import TrackingError, TrainingError
from convoy.export.training.epoch_log import METRICS_FILE, Epoch, write_metrics
from convoy.export.training.identity import difference, is_same
from convoy.export.training.run_record import RECORD_FILE, RunRecord, read_record, write_record
from convoy.export.training.tracking import Tracker
from convoy.export.whole_files import replacing

CHECKPOINT_FILE = "checkpoint.pt"
CURVES_FILE = "curves.png"
BEST_FILE = "best.safetensors"
LAST_FILE = "last.safetensors"
TENSORBOARD_FOLDER = "tensorboard"
MLFLOW_FILE = "mlflow_run_id"

_RESULTS = (
    *(RECORD_FILE, METRICS_FILE, CURVES_FILE, BEST_FILE, LAST_FILE),
    *(TENSORBOARD_FOLDER, MLFLOW_FILE),
)
"""The files and folders that stay after a training."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """
    Keep other trainings out of *folder* while the block runs.

    No training can overwrite the checkpoint of another one. The lock ends with the process, even if
    it is killed.

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
        identity: The facts that distinguish this training, as plain data.
        command: The options that decide them, as a command line, for messages.
        keeps_weights: Whether the weights of the best and the last epoch are kept.
        trackers: Programs that record the training as well.

    Attributes:
        epochs: The finished epochs.
        state: State after the last finished epoch, if this training is resumed.

    Raises:
        TrainingError: If the folder cannot be made, the checkpoint cannot be read, or it is that
            of another training.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, object],
        command: str = "",
        *,
        keeps_weights: bool = True,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self.folder, self._keeps_weights, self._trackers = folder, keeps_weights, trackers
        self.epochs: list[Epoch] = []
        self.state: dict[str, Any] | None = None
        self._repeated: Path | None = None
        self.identity: dict[str, Any] = json.loads(json.dumps(identity, default=str))
        self.command = command
        _make(folder)
        if (folder / CHECKPOINT_FILE).exists():
            self._load(folder / CHECKPOINT_FILE)

    def _load(self, path: Path) -> None:
        try:
            saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            identity, epochs = saved["identity"], [Epoch(**row) for row in saved["epochs"]]
            state, command = saved["state"], saved.get("command", "that of an older convoy")
        except Exception as error:  # torch's errors share no base class
            raise TrainingError(f"{path} is damaged; delete it to start anew: {error}") from error
        # Resuming would mix two trainings, and starting anew would lose the unfinished one.
        if not is_same(identity, self.identity):
            raise TrainingError(
                f"{self.folder} holds an unfinished training, `{command}`; this one is "
                f"`{self.command}`. They differ in {difference(identity, self.identity)}. Give "
                f"the options of that one to go on with it, give another --name, or delete {path}"
            )
        self.epochs, self.state = epochs, state

    def begin(self, record: RunRecord, console: Console) -> None:
        """Write *record*; move the weights of an earlier training aside."""
        # A training that is resumed has its files already.
        if self.state is None:
            self._make_room(console)
        write_record(record, self.folder)
        for tracker in self._trackers:
            place = tracker.begin(self.folder, record, self.epochs)
            console.print(f"recorded for {tracker.name}: {place}")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Tell the trackers if the block, a part of the training, raises (Ctrl-C included)."""
        try:
            yield
        except TrackingError:  # to tell the trackers would wait again for a server that is down
            raise
        except BaseException as error:
            for tracker in self._trackers:
                tracker.stop(interrupted=isinstance(error, KeyboardInterrupt))
            raise

    def _make_room(self, console: Console) -> None:
        files = [self.folder / name for name in _RESULTS if (self.folder / name).exists()]
        if not (self.folder / LAST_FILE).exists():  # no weights are worth keeping
            for file in files:
                if file.is_dir():
                    shutil.rmtree(file)
                else:
                    file.unlink()
            return
        is_repeated = is_same(_identity_in(self.folder), self.identity)
        aside = _free_folder(self.folder)
        aside.mkdir()
        for file in files:
            file.rename(aside / file.name)
        if is_repeated:
            # A user who meant --from interrupts the training now, and needs the weights.
            self._repeated = aside
            console.print(
                f"{self.folder} held the weights of this very training, which is repeated; until "
                f"its end they are in {aside}, and --from {aside} exports them without training"
            )
        else:
            console.print(f"the finished training in {self.folder} was moved to {aside}")

    def save(self, state: Mapping[str, Any]) -> None:
        """
        Keep the measurements so far, and the *state* to resume from.

        Raises:
            ExportError: If they cannot be written; the checkpoint before is still there.
        """
        rows = [asdict(row) for row in self.epochs]
        saved = {"identity": self.identity, "command": self.command, "epochs": rows}
        with replacing(self.folder / CHECKPOINT_FILE) as half:
            torch.save({**saved, "state": dict(state)}, half)
        with replacing(self.folder / METRICS_FILE) as half:
            write_metrics(self.epochs, half)
        for tracker in self._trackers:
            tracker.epoch(self.epochs[-1])

    def keep(self, name: str, network: nn.Module) -> None:
        """Keep the weights of *network*, after the last of `epochs`, in the file *name*."""
        if not self._keeps_weights:
            return
        weights = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
        with replacing(self.folder / name) as half:
            # One entry: safetensors writes several in any order, and the same weights are one file.
            save_file(weights, half, {"origin": f"epoch {len(self.epochs)} of {self.command}"})
            half.chmod(0o644)  # safetensors makes it readable for its owner only

    def weights(self, name: str) -> dict[str, Tensor]:
        """
        Return the weights that were kept in the file *name*.

        Raises:
            TrainingError: If the file is missing or damaged.
        """
        return read_weights(self.folder / name)

    def draw(self, title: str) -> Path | None:
        """Draw loss and accuracy over the epochs; None if there are none yet."""
        if not self.epochs:
            return None
        from convoy.export.training.learning_curves import curves  # matplotlib takes a second
        from convoy.figures import style

        path = self.folder / CURVES_FILE
        count = self.epochs[-1].epoch
        epochs = "1 epoch" if count == 1 else f"{count} epochs"
        caption = f"{epochs} on {self.identity.get('data', 'unknown data')}."
        with replacing(path) as half:
            style.write(curves(title, {title: self.epochs}, [caption]), half)
        return path

    def finish(self, artifact: Path | None = None) -> None:
        """
        Delete the checkpoint, which may be large, once the weights are kept; and the same weights
        of an earlier training.

        Args:
            artifact: The folder of the exported version, for the trackers.
        """
        for tracker in self._trackers:
            tracker.finish(self.folder, artifact)
        (self.folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        # Another version of PyTorch may make other weights: then both are kept.
        earlier = self._repeated
        if earlier and filecmp.cmp(earlier / LAST_FILE, self.folder / LAST_FILE, shallow=False):
            shutil.rmtree(earlier)


def read_weights(path: Path) -> dict[str, Tensor]:
    """
    Return the weights in the file at *path*.

    Raises:
        TrainingError: If it is missing or damaged.
    """
    try:
        return load_file(path)
    except Exception as error:  # safetensors' errors share no base class
        raise TrainingError(f"cannot read the weights {path}: {error}") from error


def _identity_in(folder: Path) -> dict[str, Any] | None:
    try:
        return read_record(folder).identity
    except TrainingError:  # of an older convoy, or damaged: in any case another training
        return None


def _free_folder(folder: Path) -> Path:
    """Return the first of `NAME.1`, `NAME.2`, ... that does not exist yet."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return aside
