"""Export of weights that an earlier training has kept, without training."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from convoy.artifact.files import file_sha256
from convoy.export import data
from convoy.export.data.content import data_set_sha256
from convoy.export.errors import DataError, ExportError, TrainingError
from convoy.export.export_settings import ExportSettings
from convoy.export.subject import Subject
from convoy.export.training.provenance import subject_of
from convoy.export.training.run_folder import read_weights
from convoy.export.training.run_record import Kept, RunRecord, read_record
from convoy.export.training.task import VERIFIED_FILE
from convoy.export.weights import load_into
from convoy.models import ARCHITECTURES, drop_auxiliary


def as_trained(settings: ExportSettings) -> ExportSettings:
    """
    Return *settings* with the network and the name of the training that they export from.

    Raises:
        ExportError: If there is no such training, or it is one of another network.
    """
    assert settings.from_run is not None
    record = read_record(_folder(settings.from_run))
    if settings.architecture not in ("", record.architecture):
        raise ExportError(
            f"{settings.from_run} holds weights of {record.architecture}; leave out "
            f"{settings.architecture}"
        )
    name = settings.name or record.model_name
    return settings.model_copy(update={"architecture": record.architecture, "name": name})


def load_kept(settings: ExportSettings, console: Console) -> Subject:
    """
    Build the network of the training that *settings* name, with its best weights, or its last.

    Raises:
        TrainingError: If the weights are missing, or are not those of the record.
        DataError: If the images of the training are missing or have changed: an accuracy could be
            measured on images that were trained on.
    """
    assert settings.from_run is not None
    folder = _folder(settings.from_run)
    record = read_record(folder)
    kept = _kept(settings.from_run, record)
    state = read_weights(folder / kept.file)
    # Other weights would be published with this training's record.
    if file_sha256(folder / kept.file) != kept.sha256:
        raise TrainingError(f"{folder / kept.file} is not the file that {folder} was written with")
    console.print(f"weights {folder / kept.file}, of epoch {kept.epoch}: {record.command}")
    network = ARCHITECTURES[record.architecture].build(num_classes=len(record.labels))
    load_into(network, state, str(folder / kept.file))
    drop_auxiliary(network)
    return subject_of(record, kept, network, _images(record, folder, console))


def _folder(path: Path) -> Path:
    """Return the folder of the training; *path* may also be one of its files of weights."""
    return path.parent if path.suffix == ".safetensors" else path


def _kept(path: Path, record: RunRecord) -> Kept:
    if not record.kept:
        runs = _folder(path).parent
        elsewhere = "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
        raise TrainingError(
            f"the training in {path} is not finished; go on with it: {record.command}{elsewhere}"
        )
    if path.suffix != ".safetensors":
        return record.kept[0]
    for kept in record.kept:
        if kept.file == path.name:
            return kept
    known = " and ".join(kept.file for kept in record.kept)
    raise TrainingError(f"{path.parent} has no weights {path.name}: there are {known}")


def _images(record: RunRecord, folder: Path, console: Console) -> data.DataSet:
    images = data.check_images(
        data.load(record.data),
        record.preprocessing,
        console,
        skip_bad=record.skip_bad_images,
        verified=folder.parent / VERIFIED_FILE,
    )
    if data_set_sha256(images) != record.training.data_sha256:
        raise DataError(
            f"the images of {record.data} have changed since the training in {folder}: an accuracy "
            "might be measured on images that were trained on. Restore them, or export the file of "
            f"weights with --weights, and measure it on other images with --evaluation-data"
        )
    return images
