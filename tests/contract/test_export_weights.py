"""Artifacts of weights that others trained: as they are, and fine-tuned."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from convoy.artifact.manifest import Manifest
from convoy.artifact.repository import ModelRepository
from convoy.service.runtime.device import Device
from convoy.service.runtime.session import Session

pytest.importorskip("torch", reason="export needs PyTorch")

import torch

from convoy.export.errors import DataError, TrainingError, WeightsError
from convoy.export.export_settings import ExportSettings
from convoy.export.exporter import export
from convoy.models import ARCHITECTURES


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the state dict of a ResNet-20 of ten classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet20.pth"
    torch.save(ARCHITECTURES["resnet20"].build().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, red, green and blue, of twenty noisy photographs each."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for index, name in enumerate(("blue", "green", "red")):
        (root / name).mkdir()
        for number in range(20):
            pixels = random.integers(0, 120, (40, 50, 3), np.uint8)
            pixels[..., 2 - index] += 120
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def exported(root: Path, **changes: object) -> tuple[Manifest, str]:
    """Return the artifact that was written and the text that was printed."""
    output = io.StringIO()
    values = {"architecture": "resnet20", "model_repository": root / "models"}
    values |= {"workers": 0} if "data" in changes else {}
    settings = ExportSettings.model_validate({**values, "runs": root / "runs", **changes})
    export(settings, Console(file=output, width=200, markup=False))  # as the command's
    repository = ModelRepository(root / "models")
    return repository.read(settings.model_name, 1).manifest, output.getvalue()


def test_weights_as_they_are(weights: Path, tmp_path: Path) -> None:
    """
    Without training the artifact names the origin of its weights and answers as they do.
    """
    manifest, output = exported(tmp_path, weights=str(weights))
    assert manifest.weights is not None
    assert manifest.weights.source == "resnet20.pth"
    assert manifest.training is None
    assert manifest.evaluations == ()
    assert manifest.labels[0] == "class 0"
    assert 'resnet20.pth names no classes: they are called "class 0" to "class 9"' in output
    assert "epoch" not in output
    assert not (tmp_path / "runs").exists()
    artifact = ModelRepository(tmp_path / "models").read("resnet20", 1)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    network = ARCHITECTURES["resnet20"].build().eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    mean, std = (
        torch.tensor(part) for part in (manifest.normalization.mean, manifest.normalization.std)
    )
    inputs = (torch.from_numpy(images) / 255 - mean) / std
    expected = network(inputs.permute(0, 3, 1, 2)).detach().numpy()
    actual = Session(artifact, Device(policy="cpu", cores=1)).run(images)["logits"]
    assert np.allclose(actual, expected, atol=1e-4 * float(np.ptp(expected)))


def test_weights_beside_the_record_of_their_training(weights: Path, tmp_path: Path) -> None:
    """
    A file of weights whose training recorded labels leads to the option that reads them.
    """
    path = tmp_path / "best[1].pth"
    path.write_bytes(weights.read_bytes())
    (tmp_path / "run.json").touch()
    _, output = exported(tmp_path, weights=str(path))
    assert f"convoy export --from {path}`" in " ".join(output.split())


@pytest.mark.slow
def test_weights_are_measured_on_other_images(weights: Path, photos: Path, tmp_path: Path) -> None:
    """
    Accuracy can be measured without training, on images of as many classes.
    """
    state = ARCHITECTURES["resnet20"].build(num_classes=3).state_dict()
    torch.save(state, tmp_path / "three.pth")
    changes = {"weights": str(tmp_path / "three.pth"), "evaluation_data": f"folder:{photos}"}
    manifest, text = exported(tmp_path, **changes)
    (evaluation,) = manifest.evaluations
    assert (evaluation.origin, evaluation.images) == ("measured", 12)
    name = f"folder:{photos.name}"
    pairs = "blue for class 0, green for class 1, red for class 2"
    assert f"classes of {name} by their order: {pairs}\n" in text
    with pytest.raises(DataError, match="has 3 classes, and the weights 10"):
        exported(tmp_path, **{**changes, "weights": str(weights)})
    labels = tmp_path / "labels.txt"
    labels.write_text("violet\nblue\nred\n")
    message = f"^blue is class 0 of {name}, and class 1 of the weights: leave out"
    with pytest.raises(DataError, match=message):
        exported(tmp_path, **changes, labels=labels)


@pytest.mark.slow
def test_fine_tuning(weights: Path, photos: Path, tmp_path: Path) -> None:
    """
    The body is kept and a new head is made for the folder's classes; the head learns first.
    """
    manifest, output = exported(
        tmp_path,
        weights=str(weights),
        data=f"folder:{photos}",
        head_epochs=2,
        epochs=4,
        batch_size=8,
        name="colours",
    )
    assert "new head for 3 classes: fc.bias, fc.weight" in output
    head, whole = output.index("the new head alone:\n"), output.index("the whole network:\n")
    assert head < output.index("epoch 1/2 ") < whole < output.index("epoch 1/4 ")
    assert manifest.labels == ("blue", "green", "red")
    assert manifest.weights is not None
    assert manifest.training is not None
    assert manifest.training.recipe["epochs"] == 4
    assert manifest.evaluations[0].top1 > 0.6
    runs = {path.name for path in (tmp_path / "runs").iterdir()}
    assert runs == {"colours", "colours-head", "verified_images"}


def test_folder_of_the_head(weights: Path, photos: Path, tmp_path: Path) -> None:
    """
    The training of the head does not overwrite the measurements of another training.
    """
    folder = tmp_path / "runs" / "colours-head"
    folder.mkdir(parents=True)
    (folder / "run.json").touch()
    changes = {"weights": str(weights), "data": f"folder:{photos}", "head_epochs": 1}
    with pytest.raises(TrainingError, match=f"{folder} holds another training"):
        exported(tmp_path, **changes, name="colours")


def test_weights_of_another_network(weights: Path, tmp_path: Path) -> None:
    """
    Weights that do not fit are named, and nothing is written.
    """
    with pytest.raises(WeightsError, match=r"resnet20\.pth does not fit .* missing: layer1\.3"):
        exported(tmp_path, architecture="resnet56", weights=str(weights))
    assert not any((tmp_path / "models").glob("*"))
