import io
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from convoy.export.export_settings import ExportSettings
from convoy.export.training.task import prepare
from convoy.models import ARCHITECTURES
from tests.harness.images import png


def described(root: Path, **options: object) -> str:
    """The text that is printed before a training on the folder *root*."""
    output = io.StringIO()
    values = {"architecture": "resnet20", "data": f"folder:{root}", "runs": root.parent / "runs"}
    prepare(ExportSettings.model_validate({**values, **options}), Console(file=output, width=2000))
    return output.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten images of one class and 30 of the other."""
    random = np.random.default_rng(0)
    for name, count in (("rare", 10), ("usual", 30)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


def test_counts_per_class(photos: Path) -> None:
    """
    The images of each class are counted, with advice if some classes are rare.
    """
    text = described(photos)
    assert "28 to train, 4 to validate, 8 to test" in text
    assert "by class: rare 7, usual 21; --balance-classes weights or sampler makes" in text
    assert "--balance-classes" not in described(photos, balance_classes="sampler")


def test_counts_with_validation_images(photos: Path) -> None:
    """
    Validation images that are trained on are counted, too.
    """
    text = described(photos, train_on_validation=True)
    assert "32 to train, 8 to test" in text
    assert "by class: rare 8, usual 24" in text


def test_counts_of_images_that_are_used(photos: Path) -> None:
    """
    Unreadable images that are left out are not counted, in any part or class.
    """
    for index in range(30, 40):
        (photos / "usual" / f"{index}.png").write_bytes(b"no image")
    text = described(photos, skip_bad_images=True)
    (parts,) = re.findall(r"(\d+) to train, (\d+) to validate, (\d+) to test", text)
    assert sum(map(int, parts)) == 40
    (classes,) = re.findall(r"by class: rare (\d+), usual (\d+)", text)
    assert sum(map(int, classes)) == int(parts[0])
    assert text.index("left out as unreadable: 10 images") < text.index("to train")


def test_images_in_two_parts(photos: Path, tmp_path: Path) -> None:
    """
    Images that are trained on and measured on, in folders that were copied for example, are
    reported.
    """
    assert "warning" not in described(photos)
    for part in ("train", "test"):
        shutil.copytree(photos, tmp_path / "parts" / part)
    (tmp_path / "parts" / "test" / "rare" / "0.png").write_bytes(png(1))
    text = described(tmp_path / "parts")
    (count,) = re.findall(r"warning: (\d+) of 40 test images are also trained on, byte for", text)
    assert 30 < int(count) < 40


def test_counts_of_many_classes(tmp_path: Path) -> None:
    """
    The rarest and the commonest of many classes are named.
    """
    pixels = np.zeros((8, 8, 3), np.uint8)
    for name in range(21):
        (tmp_path / "photos" / f"{name:02}").mkdir(parents=True)
        for index in range(20 if name == 7 else 10):
            Image.fromarray(pixels).save(tmp_path / "photos" / f"{name:02}" / f"{index}.png")
    assert "by class: from 7 of 00 to 14 of 07; --bal" in described(tmp_path / "photos")


def test_scaled_decoding(photos: Path, tmp_path: Path) -> None:
    """
    Large JPEGs are decoded smaller in every new training, unless the user forbids it; then the
    command that resumes the training says so.
    """
    options = {"architecture": "resnet20", "data": f"folder:{photos}", "runs": tmp_path}
    usual, full = (
        ExportSettings.model_validate({**options, "scaled_decoding": scaled})
        for scaled in (True, False)
    )
    assert prepare(usual, Console(quiet=True)).recipe.preprocessing.scaled_decoding
    assert not prepare(full, Console(quiet=True)).recipe.preprocessing.scaled_decoding
    assert "scaled-decoding" not in usual.training_command
    assert full.training_command.endswith(" --no-scaled-decoding")


def test_weights_beside_the_record_of_their_training(photos: Path, tmp_path: Path) -> None:
    """
    A fine-tuning of own weights, which may have another preprocessing than the recipe, warns of it.
    """
    path = tmp_path / "best.pth"
    torch.save(ARCHITECTURES["resnet20"].build().state_dict(), path)
    (tmp_path / "run.json").touch()
    warning = f"warning: {tmp_path / 'run.json'} has the preprocessing of these weights"
    assert warning in described(photos, weights=str(path))
    assert "warning" not in described(photos, weights=str(path), input_px=32)


def test_command_of_a_training() -> None:
    """
    The command that a record states has the options as the command line takes them.
    """
    words = ["--data", "mnist5k", "--weights", "my weights.pth", "--mean", "0.5,0.4,0.3"]
    options = dict(zip([word[2:] for word in words[::2]], words[1::2], strict=True))
    settings = ExportSettings.model_validate({"architecture": "resnet20", **options})
    assert shlex.split(settings.training_command) == ["convoy", "export", "resnet20", *words]
