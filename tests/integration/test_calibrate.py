"""`convoy calibrate`, on tiny models whose answers are known."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from convoy.__main__ import main
from convoy.artifact.errors import RepositoryError
from convoy.artifact.golden import softmax
from convoy.artifact.manifest import Training
from convoy.artifact.repository import ModelRepository
from convoy.artifact.stores import RemoteRepository
from convoy.commands.calibrate import calibrator
from convoy.commands.calibrate.calibrate_settings import CalibrateSettings
from convoy.service.runtime.device import Device
from convoy.service.runtime.session import Session
from tests.harness import tiny
from tests.harness.images import png
from tests.harness.meanwhile import Meanwhile


def write_images(root: Path, right: int, wrong: int) -> Path:
    """A folder per class; in each, *wrong* images are those of the next class."""
    for index in range(tiny.CLASSES):
        folder = root / f"class {index}"
        folder.mkdir(parents=True)
        for number in range(right + wrong):
            first = (index + (number >= right)) % tiny.CLASSES + 5 * number
            (folder / f"{number}.png").write_bytes(png(first))
    return root


def calibrate(models: Path | str, images: Path, name: str = "tiny") -> int:
    options = ("--data", f"folder:{images}", "--model-repository", str(models))
    return main(["calibrate", name, *options])


def test_next_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A model that is sure, and right about 15 of 20 images, gets probabilities of about 0.75 in its
    next version, which a server accepts; classes and their order stay.
    """
    tiny.write(tmp_path / "models")
    images = write_images(tmp_path / "photos", right=15, wrong=5)
    assert calibrate(tmp_path / "models", images) == 0
    output = capsys.readouterr().out
    repository = ModelRepository(tmp_path / "models")
    assert repository.versions("tiny") == [1, 2]
    before, after = (repository.read("tiny", version) for version in (1, 2))
    calibration = after.manifest.calibration
    assert calibration is not None
    assert (calibration.of_version, calibration.images) == (1, 50)
    assert f"temperature {calibration.temperature:.4f}: less confident" in output
    assert "ECE 0.2" in output
    assert after.layers is not None
    # Nothing else of the manifest has changed.
    changed = {"version", "calibration", "model_sha256", "golden_sha256", "created_at"}
    old, new = (artifact.manifest.model_dump(exclude=changed) for artifact in (before, after))
    assert old == new
    # The server's own session: its proof has the golden answers of the new version.
    device = Device(policy="cpu", cores=1)
    pixels = np.concatenate([tiny.pixels(first) for first in range(4)])
    old, new = (Session(artifact, device).run(pixels) for artifact in (before, after))
    assert (new["logits"].argmax(1) == old["logits"].argmax(1)).all()
    assert new["logits"] == pytest.approx(old["logits"] / calibration.temperature)
    assert new["probabilities"] == pytest.approx(softmax(new["logits"]), abs=1e-6)
    assert new["probabilities"].max() == pytest.approx(0.75, abs=0.1)
    # What is calibrated already stays as it is.
    assert calibrate(tmp_path / "models", images) == 0
    assert "calibrated already; nothing written" in capsys.readouterr().out
    assert repository.versions("tiny") == [1, 2]


def test_version_that_appears_meanwhile(tmp_path: Path) -> None:
    """
    A version that another command publishes during the work stays the newest.
    """
    models = tmp_path / "models"
    tiny.write(models)
    images = write_images(tmp_path / "photos", right=15, wrong=5)
    chosen = CalibrateSettings.model_validate(
        {"model": "tiny", "data": f"folder:{images}", "model_repository": models}
    )
    output = Meanwhile("temperature", lambda: tiny.write(models))
    with pytest.raises(RepositoryError, match=r"version 2 of tiny appeared in .* meanwhile; "):
        calibrator.calibrate(chosen, Console(file=output))
    assert ModelRepository(models).versions("tiny") == [1, 2]


def test_calibrated_model(tmp_path: Path) -> None:
    """
    A calibrated model is calibrated to other images, and so is a model imported from its graph.
    """
    models = tmp_path / "models"
    tiny.write(models, model=tiny.graph(poison=256))
    assert calibrate(models, write_images(tmp_path / "photos", right=15, wrong=5)) == 0
    repository = ModelRepository(models)
    graph = str(repository.read("tiny", 2).model_path)
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"class {index}\n" for index in range(tiny.CLASSES)))
    options = ("--labels", str(labels), "--resize", "4", "--crop", "4", "--name", "imported")
    assert main(["import", graph, *options, "--model-repository", str(models)]) == 0
    harder = write_images(tmp_path / "harder", right=10, wrong=10)
    for name, version in (("tiny", 3), ("imported", 2)):
        assert calibrate(models, harder, name=name) == 0
        made = repository.read(name, version)
        assert made.manifest.calibration is not None
        assert made.manifest.calibration.of_version == version - 1
        session = Session(made, Device(policy="cpu", cores=1))
        found = session.run(np.concatenate([tiny.pixels(first) for first in range(4)]))
        assert found["probabilities"].max() == pytest.approx(0.5, abs=0.15)


def test_temperature_that_does_not_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The cross-entropy on the images that were not fitted on decides; few images get a warning.
    """
    tiny.write(tmp_path / "models")
    write_images(tmp_path / "photos" / "train", right=1, wrong=0)
    write_images(tmp_path / "photos" / "val", right=3, wrong=1)
    write_images(tmp_path / "photos" / "test", right=4, wrong=0)
    assert calibrate(tmp_path / "models", tmp_path / "photos") == 0
    output = capsys.readouterr().out
    assert "warning: few images to fit a temperature on (20); give a few hundred" in output
    assert "the cross-entropy on these images, which decides, does not fall (0.0002 -> " in output
    assert output.endswith("; nothing written\n")
    assert ModelRepository(tmp_path / "models").versions("tiny") == [1]


def evaluate(models: Path, images: Path, *arguments: str) -> None:
    """Evaluate the newest version on a folder."""
    options = ("--data", f"folder:{images}", "--model-repository", str(models))
    assert main(["evaluate", "tiny", *options, *arguments]) == 0


def test_evaluation_of_images_that_were_fitted_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    An evaluation on the half that the temperature was fitted on says so, and no other does.
    """
    models = tmp_path / "models"
    tiny.write(models)
    photos = write_images(tmp_path / "photos", right=15, wrong=5)
    assert calibrate(models, photos) == 0
    evaluate(models, photos)
    note = "note: the temperature of tiny:2 was fitted on 50 of these 100 images"
    assert note in capsys.readouterr().out
    evaluate(models, write_images(tmp_path / "others", right=15, wrong=4))
    assert "fitted" not in capsys.readouterr().out


def test_evaluation_of_a_part_that_was_fitted_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The validation part that the temperature was fitted on is found in all of the data.
    """
    models = tmp_path / "models"
    tiny.write(models)
    for part in ("train", "val", "test"):
        write_images(tmp_path / "photos" / part, right=3, wrong=1)
    assert calibrate(models, tmp_path / "photos") == 0
    for part, number in (("all", 60), ("validation", 20)):
        capsys.readouterr()
        evaluate(models, tmp_path / "photos", "--part", part)
        assert f"of tiny:2 was fitted on 20 of these {number} images" in capsys.readouterr().out


def test_folder_with_the_name_of_the_training_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Other images in a folder of the same name are used as a whole, with a warning.
    """
    training = Training(
        data="folder:photos",
        data_source="folder:photos",
        data_sha256="0" * 64,
        images=35,
        seed=0,
        recipe={},
    )
    tiny.write(tmp_path / "models", training=training)
    images = write_images(tmp_path / "photos", right=15, wrong=5)
    assert calibrate(tmp_path / "models", images) == 0
    output = capsys.readouterr().out
    assert "fitted on 50 images of folder:photos, one half" in output
    assert "warning: tiny:1 was trained on data of the same name, folder:photos" in output


def test_object_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A model in a store is read from there, and its next version is written there.
    """
    url = "memory://calibrate/models"
    repository = RemoteRepository(url, tmp_path / "copies")
    tiny.write(repository)
    assert calibrate(url, write_images(tmp_path / "photos", right=15, wrong=5)) == 0
    output = capsys.readouterr().out
    assert f"MB to {url}/tiny/2\nartifact {url}/tiny/2" in output
    assert repository.read("tiny", 2).manifest.calibration is not None


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Data that tells nothing about the temperature is refused in one line.
    """
    models = tmp_path / "models"
    tiny.write(models)
    tiny.write_multi_label(models, "labels")
    perfect = write_images(tmp_path / "perfect", right=4, wrong=0)
    assert calibrate(models, perfect) == 1
    assert "no temperature fits the 10 images of folder:perfect, one half: the model is right" in (
        capsys.readouterr().err
    )
    (perfect / "class 0" / "bad.png").write_bytes(b"no image")
    assert calibrate(models, perfect) == 1
    assert "bad.png cannot be decoded" in capsys.readouterr().err
    arguments = ("--data", f"folder:{perfect}", "--model-repository", str(models))
    assert main(["calibrate", "labels", *arguments]) == 1
    assert "labels is a multi-label model" in capsys.readouterr().err
    assert main(["calibrate", "none", *arguments]) == 1
    assert "no model 'none'" in capsys.readouterr().err
    assert ModelRepository(models).versions("tiny") == [1]
