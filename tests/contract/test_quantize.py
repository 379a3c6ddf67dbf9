"""`convoy quantize` writes, the service reads: int8 versions of imported models, and refusals."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
from rich.console import Console

from convoy.__main__ import main
from convoy.artifact.errors import RepositoryError
from convoy.artifact.files import Artifact, file_sha256, write_manifest
from convoy.artifact.manifest import Manifest
from convoy.artifact.repository import ModelRepository
from convoy.artifact.stores import RemoteRepository
from convoy.export.quantization.quantize_settings import QuantizeSettings
from convoy.export.quantization.quantizer import quantize_model
from convoy.service.runtime.device import Device
from convoy.service.runtime.session import Session
from tests.harness import colours, tiny
from tests.harness.full_disk import limited_files
from tests.harness.meanwhile import Meanwhile
from tests.harness.server import Serve

FILES = {"golden.npz", "layers.json", "manifest.json", "model.onnx"}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository, and photos of its model's classes."""
    folder = tmp_path_factory.mktemp("material")
    colours.imported(folder / "models", colours.classifier())
    colours.write_images(folder / "photos", 60)
    return folder


@pytest.fixture
def place(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that is the working directory."""
    shutil.copytree(material, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.setenv("CONVOY_MODEL_REPOSITORY", "models")
    return tmp_path / "place"


def read(place: Path, name: str, version: int = 1) -> Artifact:
    return ModelRepository(place / "models").read(name, version)


def test_int8_model_of_its_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The int8 model has its own name, says where it comes from and what it costs, and is served.
    """
    before = {path: path.read_bytes() for path in (place / "models").rglob("*") if path.is_file()}
    source = read(place, "colours").manifest
    assert main(["quantize", "colours", "--data", "folder:photos", "--seconds", "0.1"]) == 0
    told = capsys.readouterr().out
    artifact = read(place, "colours_int8")
    manifest, record = artifact.manifest, artifact.manifest.quantization
    assert record is not None
    assert (manifest.name, manifest.version, manifest.precision) == ("colours_int8", 1, "int8")
    assert (record.source_model, record.source_version) == ("colours", 1)
    assert record.source_sha256 == source.model_sha256
    assert (record.calibration_data, record.calibration_images) == (
        *("folder:photos, training part", 126),
    )
    (comparison,) = record.comparisons
    assert (comparison.data, comparison.images) == ("folder:photos, test part", 36)
    assert (comparison.right_before, comparison.right) == (36, 36)
    assert record.processor
    (evaluation,) = manifest.evaluations
    assert (evaluation.top1, evaluation.images, evaluation.top5) == (1, 36, None)
    for field in ("labels", "input", "outputs", "preprocessing", "normalization", "macs", "source"):
        assert getattr(manifest, field) == getattr(source, field)
    assert manifest.opset >= 13
    assert manifest.memory is not None
    assert source.memory is not None
    assert manifest.memory.weights_bytes < source.memory.weights_bytes / 2
    assert {path.name for path in artifact.model_path.parent.iterdir()} == FILES
    # Nothing else in the repository has changed, and nobody's photos are in it.
    assert {path: path.read_bytes() for path in before} == before
    assert np.array_equal(artifact.golden.images, read(place, "colours").golden.images)
    session = Session(artifact, Device(policy="cpu", cores=1))  # replays the golden images
    (scores,) = session.run(artifact.golden.images).values()
    assert scores == pytest.approx(artifact.golden.logits, abs=0.03)
    assert "images/s" in told
    assert "126 images" in told
    assert f"written to {Path('models/colours_int8/1')}" in told


def test_next_version(place: Path) -> None:
    """
    On request it is the next version, beside the first one, to which a server can roll back.
    """
    sha256 = file_sha256(read(place, "colours").model_path)
    options = ["--images", "photos", "--seconds", "0"]
    assert main(["quantize", "colours", "--as-next-version", *options]) == 0
    assert ModelRepository(place / "models").versions("colours") == [1, 2]
    assert file_sha256(read(place, "colours", 1).model_path) == sha256
    manifest = read(place, "colours", 2).manifest
    assert manifest.quantization is not None
    assert (manifest.precision, manifest.quantization.source_version) == ("int8", 1)
    assert manifest.evaluations == ()  # the classes of the photos were not known
    assert manifest.quantization.comparisons[0].same_class == 36


def test_object_store(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A model is read from a store, and its int8 version is written there.
    """
    url = "memory://quantize/models"
    fsspec.filesystem("memory").put("models/", "/quantize/models/", recursive=True)
    monkeypatch.setenv("CONVOY_MODEL_REPOSITORY", url)
    assert main(["quantize", "colours", "--images", "photos", "--seconds", "0"]) == 0
    repository = RemoteRepository(url, tmp_path / "copies")
    assert repository.names() == ["colours", "colours_int8"]
    assert repository.read("colours_int8", 1).manifest.precision == "int8"


async def test_server_that_polls_rolls_forward_and_back(place: Path, serve: Serve) -> None:
    """
    A server switches to the int8 version by itself, and back when the version is removed.
    """
    polling = {"model_control_mode": "poll", "repository_poll_s": 0.05}
    async with serve(model_repository=place / "models", **polling) as running:
        registry = running.server.registry
        assert [*registry.versions("colours")] == [1]
        options = ["--as-next-version", "--images", "photos", "--seconds", "0"]
        assert main(["quantize", "colours", *options]) == 0
        await running.until(lambda: [*registry.versions("colours")] == [2])
        assert registry.get("colours").manifest.precision == "int8"
        shutil.rmtree(place / "models/colours/2")
        await running.until(lambda: [*registry.versions("colours")] == [1])
        assert registry.get("colours").manifest.precision == "float32"


def test_version_and_name_are_chosen(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Once the newest version is int8, an older one is converted under any name.
    """
    images = ["--images", "photos", "--seconds", "0"]
    assert main(["quantize", "colours", "--as-next-version", *images]) == 0
    assert main(["quantize", "colours", *images]) == 1
    assert capsys.readouterr().err == (
        "convoy quantize: colours version 2 is int8 already: choose the model in float32 that it "
        "was made from, colours:1\n"
    )
    assert main(["quantize", "colours:1", "--name", "small", *images]) == 0
    assert read(place, "small").manifest.quantization is not None
    assert main(["quantize", "small", *images]) == 1
    assert capsys.readouterr().err.endswith("that it was made from, colours:1\n")


def test_few_images(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Few images give a warning, and still an artifact; the number is that of the images used.
    """
    options = ["--images", "photos/red", "--calibration-images", "5", "--seconds", "0"]
    assert main(["quantize", "colours", *options]) == 0
    told = capsys.readouterr().out
    assert "ranges of activations from 5 images of red" in told
    assert "warning: few images for ranges (5); give a few hundred" in told
    assert "warning: few images for a comparison (55), in which one of them is 1.8 %;" in told
    record = read(place, "colours_int8").manifest.quantization
    assert record is not None
    assert (record.calibration_images, record.comparisons[0].images) == (5, 55)


def copy_version(place: Path, name: str, version: int) -> None:
    """Publish a copy of version 1 of `colours`, as another command would."""
    repository = ModelRepository(place / "models")
    artifact = repository.read("colours", 1)
    with repository.writing(name) as (folder, number):
        assert number == version
        shutil.copytree(artifact.model_path.parent, folder, dirs_exist_ok=True)
        fields = artifact.manifest.model_dump() | {"name": name, "version": version}
        write_manifest(folder, Manifest.model_validate(fields))


@pytest.mark.parametrize(
    ("options", "published", "message"),
    [
        ({}, ("colours_int8", 1), "version 1 of colours_int8 appeared in models meanwhile; "),
        (
            {"as_next_version": True},
            ("colours", 2),
            "version 2 of colours appeared in models meanwhile; ",
        ),
    ],
)
def test_version_that_appears_meanwhile(
    place: Path, options: dict[str, bool], published: tuple[str, int], message: str
) -> None:
    """
    A version that another command publishes during the work stays the newest: a server that polls
    would leave it for one that was made of an older one.
    """
    repository = ModelRepository(Path("models"))
    chosen = QuantizeSettings(model="colours", images=Path("photos"), seconds=0, **options)
    output = Meanwhile("the class of", lambda: copy_version(place, *published))
    with pytest.raises(RepositoryError, match=message):
        quantize_model(repository, repository.read("colours", 1), chosen, Console(file=output))
    name, version = published
    assert repository.versions(name)[-1] == version
    assert repository.read(name, version).manifest.precision == "float32"
    assert not [*place.rglob(".writing-*")]


def test_version_that_is_removed_meanwhile(place: Path) -> None:
    """
    A version that was rolled back during the work does not return in 8 bits.
    """
    copy_version(place, "colours", 2)
    repository = ModelRepository(Path("models"))
    chosen = QuantizeSettings(
        model="colours", images=Path("photos"), seconds=0, as_next_version=True
    )
    output = Meanwhile("the class of", lambda: shutil.rmtree(place / "models/colours/2"))
    with pytest.raises(RepositoryError, match="version 2 of colours was removed from models mean"):
        quantize_model(repository, repository.read("colours", 2), chosen, Console(file=output))
    assert repository.versions("colours") == [1]


def test_layers_in_float32_are_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Their names are reported even if no speed is measured.
    """
    shutil.rmtree(place / "models")
    colours.imported(place / "models", colours.classifier(outlier=1000))
    assert main(["quantize", "colours", "--images", "photos", "--seconds", "0"]) == 0
    record = read(place, "colours_int8").manifest.quantization
    assert record is not None
    assert record.float32_layers
    names = ", ".join(record.float32_layers)
    assert f"layers that stay in float32: {names}\n" in capsys.readouterr().out


def test_full_disk(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    If there is no room for temporary files, the error says so, and nothing is written.
    """
    with limited_files(2000):
        assert main(["quantize", "colours", "--images", "photos", "--seconds", "0"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("convoy quantize: cannot write temporary files: File too large at /")
    assert told.endswith("; make room, or set TMPDIR to another disk\n")
    assert ModelRepository(place / "models").names() == ["colours"]


def test_no_temporary_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A temporary folder that does not exist is named.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(place / "none"))
    assert main(["quantize", "colours", "--images", "photos", "--seconds", "0"]) == 1
    told = capsys.readouterr().err
    assert "cannot write temporary files: No such file or directory at " in told
    assert str(place / "none") in told


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (
            ["--data", "folder:photos"],
            r"loses [\d.]+ points of top-1 accuracy: \d+ of 36 images of ",
        ),
        (["--images", "photos"], r"agrees with float32 on \d+ of 36 images of photos, [\d.]+ %; "),
    ],
)
def test_loss_that_is_refused(
    place: Path, images: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A network that half of its layers in float32 do not save is refused; nothing is written.
    """
    shutil.rmtree(place / "models")
    colours.imported(place / "models", colours.classifier(outlier=1000, branches="cd"))
    assert main(["quantize", "colours", *images]) == 1
    told = capsys.readouterr().err
    assert told.startswith("convoy quantize: with 2 of 5 layers in float32, the int8 graph still ")
    assert re.search(reason, told)
    assert told.endswith("serve float32, or allow more\n")
    assert ModelRepository(place / "models").names() == ["colours"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["colours"], 2, "give images to find the ranges of activations with, a few hundred: "),
        (["colours", "--images", "photos", "--data", "folder:photos"], 2, "either --images FOLDER"),
        (["lenet", "--images", "photos"], 1, "no model 'lenet' in models; "),
        (
            ["colours:7", "--images", "photos"],
            1,
            "no version 7 of 'colours' in models: there are 1",
        ),
        (["colours:x", "--images", "photos"], 1, "'colours:x' is no model: expected NAME, or "),
        (["colours", "--images", "photos", "--by-order"], 2, "--by-order is for images with their"),
        (
            ["colours", "--images", "photos", "--max-accuracy-loss", "1"],
            2,
            "--max-accuracy-loss is for images with their classes: give --data, or ",
        ),
        (
            ["colours", "--data", "folder:photos", "--min-agreement", "99"],
            2,
            "--min-agreement is for --images: with --data, the accuracy decides",
        ),
        (["colours", "--images", ""], 2, "--images: the name of the folder is empty"),
        (
            ["a" * 60, "--images", "photos"],
            1,
            f"'{'a' * 60}_int8' is too long for the name of a model: give a --name",
        ),
        (["colours", "--images", "none"], 1, "cannot read the data folder none: No such file"),
        (["colours", "--images", "empty"], 1, "empty holds no images named "),
        (["colours", "--images", "broken"], 1, "broken/broken.png: "),
        (["colours", "--data", "folder:none"], 1, "cannot read the data folder none: No such file"),
        (["colours", "--data", "birds"], 1, "unknown data set 'birds'; "),
        (["colours", "--data", "folder:others"], 1, "colours does not know the classes cyan: name"),
        (["taken", "--images", "photos"], 1, "models holds taken_int8 already: choose another "),
        (["tiny", "--images", "photos"], 1, "no convolution or matrix product with weights"),
        (
            ["colours", "--images", "photos", "--max-accuracy-loss", "101"],
            2,
            "101 is out of range; must be at most 100",
        ),
        (["colours", "--images", "photos", "--scheme", "s4"], 2, "'s4'"),
    ],
)
def test_refusals(
    place: Path,
    arguments: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    Each is one line that names the problem, and nothing is written.
    """
    (place / "empty").mkdir()
    (place / "broken").mkdir()
    (place / "broken/broken.png").write_bytes(b"no image")
    shutil.copytree(place / "photos", place / "others")
    (place / "others/red").rename(place / "others/cyan")
    for name in ("taken", "taken_int8", "tiny", "a" * 60):
        tiny.write(place / "models", name)
    before = sorted((place / "models").rglob("*"))
    assert main(["quantize", *arguments]) == code
    told = capsys.readouterr()
    assert message in told.err
    assert told.err.startswith("convoy quantize: ")
    assert told.err.count("\n") == 1
    assert sorted((place / "models").rglob("*")) == before
