"""The functions of the package, which do what the commands do."""

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

import convoy
import convoy.api_results
from convoy import api
from convoy.artifact.files import read_manifest
from convoy.commands.evaluate.evaluate_settings import EvaluateSettings
from convoy.export.export_settings import ExportSettings
from convoy.options import Options
from tests.harness import tiny
from tests.harness.images import png


@pytest.mark.parametrize(
    ("function", "settings", "left_out"),
    [
        (api.export_model, ExportSettings, {"architecture", "from_run", "validate_only"}),
        (api.evaluate, EvaluateSettings, set()),
    ],
)
def test_arguments_are_the_flags(
    function: Any, settings: type[Options], left_out: set[str]
) -> None:
    """
    Each flag is an argument with the same default.
    """
    own = {"source", "quiet"}
    found = inspect.signature(function).parameters
    assert found.keys() - own == settings.model_fields.keys() - left_out
    for name in found.keys() - own - {"models", "data"}:
        default = api._plain(settings.model_fields[name].default)
        assert found[name].default == default, name


def test_train_takes_flags_of_export() -> None:
    """
    Training has the arguments of the export but those of its artifact.
    """
    trained = inspect.signature(api.train).parameters
    exported = inspect.signature(api.export_model).parameters
    others = {"labels", "resize", "mean", "std", "precision", "evaluation_data", "source"}
    others |= {"max_accuracy_loss", "model_repository"}
    assert trained.keys() - {"architecture"} == exported.keys() - others
    for name in trained.keys() - {"architecture"}:
        assert trained[name].default == exported[name].default, name


def test_list_models() -> None:
    """
    Names are chosen by a pattern.
    """
    assert convoy.list_models("resnet5*") == ["resnet50", "resnet50_v1", "resnet56"]
    assert len(convoy.list_models()) == 36
    assert convoy.list_models("none") == []


def test_imported_when_used() -> None:
    """
    The package imports nothing of them before, and `convoy.export` stays the package.
    """
    program = (
        "import sys, convoy; assert 'pydantic' not in sys.modules; "
        "from convoy import evaluate, export_model, list_models, train; "
        "assert 'torch' not in sys.modules and 'onnxruntime' not in sys.modules; "
        "import convoy.export; assert convoy.export.__path__"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_dir() -> None:
    """
    A notebook completes the public names only.
    """
    assert [name for name in dir(convoy) if not name.startswith("__")] == [
        name for name in convoy.__all__ if not name.startswith("__")
    ]


def test_evaluate(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """
    A model is measured, and the result shows itself. Nothing is printed, not even progress.
    """
    for index in range(tiny.CLASSES):
        folder = tmp_path / "photos" / f"class {index}"
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(png(index))
    tiny.write(tmp_path / "models")
    folder = tmp_path / "models/tiny/1"
    model = convoy.api_results.ExportedModel(str(folder), read_manifest(folder))
    report = convoy.evaluate(model, data=f"folder:{tmp_path / 'photos'}")
    assert report.results[0].title == model.title == "tiny:1"
    assert report.results[0].evaluation.top1.share == 1
    assert "100.00 (56.55-100.00)" in report._repr_html_()
    named = convoy.evaluate(
        "tiny", data=f"folder:{tmp_path / 'photos'}", model_repository=tmp_path / "models"
    )
    assert capfd.readouterr() == ("", "")
    assert named.results[0].evaluation.confusion == report.results[0].evaluation.confusion
    assert "<td>tiny:1</td>" in model._repr_html_()


@pytest.mark.parametrize(
    ("root", "location"),
    [
        (".", "tiny/1"),
        ("models", "models/tiny/1"),
        ("/", "/tiny/1"),
        ("s3://bucket/models", "s3://bucket/models/tiny/1"),
    ],
)
def test_repository_of_a_model(root: str, location: str, tmp_path: Path) -> None:
    """
    A model knows its repository, also in the working directory.
    """
    tiny.write(tmp_path)
    model = convoy.api_results.ExportedModel(location, read_manifest(tmp_path / "tiny/1"))
    assert model.repository == root


def test_models_of_several_repositories(tmp_path: Path) -> None:
    """
    Models of several repositories are refused: both could have one name, and one of them would be
    measured twice.
    """
    models = []
    for name in ("one", "two"):
        tiny.write(tmp_path / name)
        folder = tmp_path / name / "tiny/1"
        models.append(convoy.api_results.ExportedModel(str(folder), read_manifest(folder)))
    message = f"in several repositories, {tmp_path}/one and {tmp_path}/two: evaluate those of one"
    with pytest.raises(convoy.UsageError, match=message):
        convoy.evaluate(*models, data="mnist5k")
    with pytest.raises(convoy.UsageError, match=message):
        convoy.evaluate(models[0], "tiny", data="mnist5k", model_repository=tmp_path / "two")


def test_train_and_export(tmp_path: Path) -> None:
    """
    A training is kept, shown, and exported without training again.
    """
    torch = pytest.importorskip("torch", reason="training needs PyTorch")
    run = convoy.train("lenet5", epochs=1, runs=tmp_path / "runs", name="small", quiet=True)
    # The rest of a notebook computes as before.
    assert not torch.are_deterministic_algorithms_enabled()
    assert run.folder == tmp_path / "runs" / "small"
    assert run.record.command == "convoy export lenet5 --epochs 1 --name small"
    assert {"best.safetensors", "last.safetensors", "run.json"} < {
        path.name for path in run.folder.iterdir()
    }
    assert not (run.folder / "checkpoint.pt").exists()
    assert repr(run).startswith(f"TrainingRun('{run.folder}', epoch 1 of 1: validation accuracy 0.")
    assert "data:image/png;base64," in run._repr_html_()
    model = convoy.export_model(run, model_repository=tmp_path / "models", quiet=True)
    assert model.title == "small:1"
    assert model.manifest.training is not None
    assert model.manifest.training.validation is not None
    assert model.manifest.training.validation.accuracy == run.best.validation_accuracy


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: convoy.train("lenet6"),
            "architecture: unknown network 'lenet6'; did you mean lenet5?",
        ),
        (
            lambda: convoy.export_model("lenet6"),
            "source: unknown network 'lenet6'; did you mean lenet5?",
        ),
        (
            lambda: convoy.evaluate("m:1", data="mnist5k", part=cast(Any, "tset")),
            "part: 'tset' is not a choice; expected 'train', 'validation', 'test' or 'all'",
        ),
        (
            lambda: convoy.train("lenet5", weights="lenet5.pth"),
            "weights: a training that begins with them needs images; give data",
        ),
        (
            lambda: convoy.train("lenet5", epochs=-1, seed=-1),
            "epochs: -1 is out of range; must be at least 0\n"
            "seed: -1 is out of range; must be at least 0",
        ),
    ],
)
def test_wrong_arguments(call: Callable[[], object], message: str) -> None:
    """
    A wrong value is a `ValueError` with the text of the command, which names the argument.
    """
    pytest.importorskip("torch", reason="training needs PyTorch")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$") as caught:
        call()
    assert type(caught.value) is ValueError


def test_public_errors(tmp_path: Path) -> None:
    """
    The errors are public names: a run, a model and data that do not exist.
    """
    pytest.importorskip("torch", reason="training needs PyTorch")
    missing = tmp_path / "runs/none"
    for source in (missing, str(missing)):
        with pytest.raises(convoy.ExportError, match=f"there is no training in {missing};"):
            convoy.export_model(source)
    with pytest.raises(convoy.RepositoryError):
        convoy.evaluate("none", data="mnist5k", model_repository=tmp_path)
    tiny.write(tmp_path / "models")
    with pytest.raises(convoy.ExportError):
        convoy.evaluate("tiny", data="folder:none", model_repository=tmp_path / "models")
    with pytest.raises(convoy.UsageError):
        convoy.evaluate("tiny:x", data="mnist5k", model_repository=tmp_path / "models")
    (tmp_path / "models/tiny/1/model.onnx").write_bytes(b"damaged")
    with pytest.raises(convoy.ArtifactError):
        convoy.evaluate("tiny", data="mnist5k", model_repository=tmp_path / "models")
