"""`run.json`: what a training's weights were made with, and which of them were kept.

It lies beside the weights in the folder of the training. Needs no PyTorch.
"""

from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from convoy.artifact.manifest import (
    ModelName,
    Part,
    Preprocessing,
    Sha256,
    Training,
    Validation,
    Weights,
)
from convoy.artifact.schema import load
from convoy.export.errors import TrainingError
from convoy.export.whole_files import replacing

RECORD_FILE = "run.json"


class Kept(Part):
    """
    A file of weights.

    Attributes:
        file: Its name.
        epoch: The epoch that made them, from 1.
        validation: Their measurement; None if nothing was validated.
    """

    file: str
    sha256: Sha256
    epoch: int
    validation: Validation | None


class RunRecord(Part):
    """
    The content of `run.json`.

    Attributes:
        command: The options that decide the weights, as a command line.
        identity: The facts that a training must share with this one to be resumed from it.
        model_name: Name of the model that the run was made for.
        data: The data set, as `--data` names it on this machine.
        skip_bad_images: Whether unreadable images were left out.
        images: Number of images of each class, by part.
        training: Data and recipe, as in a manifest, without the epoch.
        weights: The first weights, if they are not random numbers.
        skipped_images: Names of unreadable images that were left out.
        tools: Versions of the programs that the weights depend on.
        git: Commits of convoy and of the working directory; `-dirty` marks changes.
        kept: The kept weights, the exported ones first; empty while the training goes on.
    """

    schema_version: Literal[1] = 1
    command: str
    identity: dict[str, Any]
    architecture: str
    model_name: ModelName
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data: str
    skip_bad_images: bool
    images: dict[str, dict[str, int]]
    training: Training
    weights: Weights | None
    skipped_images: tuple[str, ...]
    tools: dict[str, str]
    git: dict[str, str]
    started_at: datetime
    kept: tuple[Kept, ...] = ()


def write_record(record: RunRecord, folder: Path) -> None:
    """Write *record* into *folder*, atomically."""
    with replacing(folder / RECORD_FILE) as half:
        half.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path) -> RunRecord:
    """
    Read the record in *folder*.

    Raises:
        TrainingError: If there is none, or it is damaged or of a newer convoy.
    """
    path = folder / RECORD_FILE
    if not folder.exists():
        raise TrainingError(
            f"there is no training in {folder}; name the folder of one, such as runs/lenet5"
        )
    try:
        return RunRecord.model_validate(load(path.read_bytes(), ()))
    except OSError as error:
        raise TrainingError(
            f"cannot read {path}: {error.strerror}; name the folder of a training, such as "
            "runs/lenet5"
        ) from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"])) or "document"
        raise TrainingError(f"{path}: {field}: {problem['msg']}") from error
    except ValueError as error:  # no JSON, or of a newer version
        raise TrainingError(f"{path}: {error}") from error


def git_state(folder: Path) -> str | None:
    """Return the commit that *folder* is checked out from; None if git does not know the folder."""
    command = ("git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40")
    # Packages that are installed below somebody's checkout are none of its files.
    known = ("git", "-C", str(folder), "ls-files", "--error-unmatch", ".")
    try:
        if subprocess.run(known, capture_output=True, check=False).returncode:
            return None
        done = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, check=False
        )
    except OSError:  # git is not installed
        return None
    return done.stdout.strip() or None
