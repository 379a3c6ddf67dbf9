import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from convoy.export.errors import TrainingError
from convoy.export.export_settings import ExportSettings
from convoy.export.training.identity import difference, is_same
from convoy.export.training.provenance import identity
from convoy.export.training.run_folder import CHECKPOINT_FILE, Run
from convoy.export.training.task import Task, prepare


def task(folder: Path, **options: object) -> Task:
    """The task of a training of LeNet-5 on digits."""
    values = {"architecture": "lenet5", "runs": folder, **options}
    return prepare(ExportSettings.model_validate(values), Console(quiet=True))


def plain(task: Task) -> dict[str, Any]:
    """The identity as a file has it."""
    found: dict[str, Any] = json.loads(json.dumps(identity(task, 1), default=str))
    return found


def of_older(task: Task) -> dict[str, Any]:
    """The identity as convoy wrote it before it had the kinds of the recipe's parts."""
    made = {**identity(task, 1), "recipe": dataclasses.asdict(task.recipe)}
    found: dict[str, Any] = json.loads(json.dumps(made, default=str))
    return found


def test_kinds_are_kept(tmp_path: Path) -> None:
    """
    The parts of a recipe state their kinds: those of OneCycle are nothing else.
    """
    made = plain(task(tmp_path))
    kinds = {name: made["recipe"][name]["kind"] for name in ("optimizer", "augmentation")}
    assert kinds == {"optimizer": "Sgd", "augmentation": "Affine"}
    assert made["recipe"]["schedule"] == {"kind": "OneCycle"}
    other = {**made, "recipe": {**made["recipe"], "schedule": {"kind": "Constant"}}}
    assert not is_same(made, other)
    assert difference(made, other) == "the recipe's schedule"


def test_training_of_an_older_convoy(tmp_path: Path) -> None:
    """
    A training that an older convoy began is continued; one with other options stays.
    """
    older = task(tmp_path / "runs")
    path = tmp_path / "run" / CHECKPOINT_FILE
    path.parent.mkdir()
    state = {"identity": of_older(older), "command": "a", "epochs": [], "state": {"step": 1}}
    torch.save(state, path)
    assert "kind" not in str(of_older(older))
    assert Run(path.parent, identity(older, 1)).state == {"step": 1}
    before = path.read_bytes()
    with pytest.raises(TrainingError, match=r"They differ in --epochs \(\d+ there, 3 here\)\. "):
        Run(path.parent, identity(task(tmp_path / "runs", epochs=3), 1))
    assert path.read_bytes() == before


def test_differences_are_flags(tmp_path: Path) -> None:
    """
    Each difference is named by its flag, with both values.
    """
    here = {
        "early_stopping": 3,
        "learning_rate": 0.25,
        "seed": 7,
        "balance_classes": "sampler",
    }
    one, other = plain(task(tmp_path)), plain(task(tmp_path, **here))
    assert not is_same(one, other)
    texts = difference(one, other)
    for text in (
        "--seed (0 there, 7 here)",
        "--early-stopping (0 there, 3 here)",
        "--learning-rate (0.1 there, 0.25 here)",
        "--balance-classes (no there, sampler here)",
    ):
        assert text in texts
    assert texts.count("there") == 4
    assert "recipe" not in texts
    assert difference(one, plain(task(tmp_path, train_on_validation=True))) == (
        "--train-on-validation (off there, on here)"
    )
