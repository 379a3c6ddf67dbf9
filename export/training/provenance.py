"""The origin of a training's weights: its identity, its record, and the subject to export."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from torch import nn

import convoy.models
from convoy.artifact.files import file_sha256
from convoy.artifact.manifest import Training, Validation
from convoy.export.data import DataSet, Split
from convoy.export.data.held_out import tests_of, validation_of
from convoy.export.recipes import record as plain_recipe
from convoy.export.subject import Subject
from convoy.export.tool_versions import tool_versions
from convoy.export.training.compute import Compute
from convoy.export.training.epoch_log import Epoch, best_epoch
from convoy.export.training.run_folder import BEST_FILE, LAST_FILE, Run
from convoy.export.training.run_record import Kept, RunRecord, git_state
from convoy.export.training.task import Task

TOOLS = ("torch", "torchvision", "numpy", "pillow", "simplejpeg", "mlxtend")
"""Packages whose versions a record has, beside those of Python and convoy: all that affect weights
or pixels."""


def identity(task: Task, world_size: int) -> Mapping[str, object]:
    """Return the facts that a checkpoint must share with a training that resumes from it."""
    recipe = task.recipe
    return {
        "architecture": task.settings.architecture,
        "recipe": {
            **plain_recipe(recipe),
            "preprocessing": recipe.preprocessing,
            "mean": recipe.mean,
            "std": recipe.std,
        },
        "data": task.data_set.name,
        "images": task.data_sha256,
        "train_on_validation": task.validation is None,
        "labels": task.data_set.labels,
        "weights": task.weights and (task.weights.source, task.weights.sha256),
        "head_epochs": task.settings.head_epochs,
        "seed": task.settings.seed,
        "processes": world_size,
    }


def run_record(task: Task, run: Run, compute: Compute) -> RunRecord:
    """Return the record of a training that begins: it has no weights yet."""
    settings, recipe, data_set = task.settings, task.recipe, task.data_set
    return RunRecord(
        command=run.command,
        identity=run.identity,
        architecture=settings.architecture,
        model_name=settings.model_name,
        labels=data_set.labels,
        preprocessing=recipe.preprocessing,
        mean=recipe.mean,
        std=recipe.std,
        data=task.data_option,
        skip_bad_images=settings.skip_bad_images,
        images={
            part: _counts(images, data_set.labels)
            for part, images in (
                ("train", data_set.train),
                ("validation", data_set.validation),
                ("test", data_set.test),
            )
        },
        training=Training(
            data=data_set.name,
            data_source=data_set.source,
            data_sha256=task.data_sha256,
            images=len(task.split),
            seed=settings.seed,
            recipe=plain_recipe(recipe),
            device=compute.name,
        ),
        weights=None if task.weights is None else task.weights.record(),
        skipped_images=data_set.skipped,
        tools=tool_versions(TOOLS),
        git=_git_states(),
        started_at=datetime.now(UTC).replace(microsecond=0),
    )


def _counts(images: Split, labels: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(images.labels, minlength=len(labels)).tolist()
    return dict(zip(labels, counts, strict=True))


def _git_states() -> dict[str, str]:
    folders = {
        "convoy": Path(convoy.models.__file__).resolve().parent,
        "working directory": Path.cwd(),
    }
    states = {name: git_state(folder) for name, folder in folders.items()}
    return {name: state for name, state in states.items() if state}


def with_kept(record: RunRecord, run: Run, validation: Split | None) -> RunRecord:
    """Return *record* with the weights that *run* has kept, the exported ones first."""
    chosen = {LAST_FILE: run.epochs[-1]}
    if validation is not None:
        chosen = {BEST_FILE: best_epoch(run.epochs), **chosen}
    kept = tuple(
        Kept(
            file=file,
            sha256=file_sha256(run.folder / file),
            epoch=epoch.epoch,
            validation=None if validation is None else _validation(epoch, len(validation)),
        )
        for file, epoch in chosen.items()
    )
    return record.model_copy(update={"kept": kept})


def _validation(epoch: Epoch, images: int) -> Validation:
    loss, accuracy = epoch.validation_loss, epoch.validation_accuracy
    assert loss is not None
    assert accuracy is not None
    return Validation(images=images, loss=loss if math.isfinite(loss) else None, accuracy=accuracy)


def subject_of(
    record: RunRecord, kept: Kept, network: nn.Module, data_set: DataSet, run: Run | None = None
) -> Subject:
    """
    Return the subject to export: *network*, which has the weights *kept*.

    Args:
        data_set: The images of the training.
        run: The training, if it has just ended.
    """
    return Subject(
        architecture=record.architecture,
        network=network.eval(),
        labels=record.labels,
        preprocessing=record.preprocessing,
        mean=record.mean,
        std=record.std,
        training=record.training.model_copy(
            update={"epoch": kept.epoch, "validation": kept.validation}
        ),
        weights=record.weights,
        # Without a validation, these images were trained on.
        validation=None if kept.validation is None else validation_of(data_set),
        tests=tests_of(data_set),
        skipped_images=record.skipped_images,
        calibration=data_set.train,
        run=run,
    )
