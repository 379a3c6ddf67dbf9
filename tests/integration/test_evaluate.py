"""`convoy evaluate`, on tiny models whose answers are known."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from convoy.__main__ import main
from convoy.artifact.manifest import Training, Validation
from convoy.artifact.repository import ModelRepository
from convoy.commands.compare import comparison_data
from convoy.export.data.content import data_set_sha256
from convoy.export.data.folders import load_folder
from convoy.export.data.readability import check_images
from tests.harness import tiny
from tests.harness.images import png
from tests.harness.server import Running, Serve

NAMES = [f"class {index}" for index in range(tiny.CLASSES)]


def write_images(root: Path, per_class: int = 1, wrong: int = 0) -> Path:
    """A folder per class, with right images, and *wrong* ones of class 1 in the folder of 0."""
    for index, name in enumerate(NAMES):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            # The number in the first pixel is the class, whatever the multiple of five.
            (root / name / f"{number}.png").write_bytes(png(index + 5 * number))
    for number in range(wrong):
        (root / NAMES[0] / f"wrong{number}.png").write_bytes(png(1 + 5 * number))
    return root


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with the tiny model, and with one that takes class 2 for class 3."""
    root = tmp_path / "models"
    tiny.write(root)
    swapped = {first: [0, 0, 0, 10, 0] for first in range(2, 200, 5)}
    tiny.write(root, "swapped", model=tiny.graph(scores=swapped))
    return root


def evaluate(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run the command and return the results that it writes."""
    path = folder / "evaluation-of-test.json"
    assert main(["evaluate", *arguments, "--json", str(path)]) == 0
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_scores(tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Shares, classes, confusions and calibration are those of the answers.
    """
    images = write_images(tmp_path / "photos", per_class=2, wrong=2)
    report = evaluate(
        tmp_path, "tiny", "--data", f"folder:{images}", "--model-repository", str(models)
    )
    (result,) = report["results"]
    assert (result["model"], result["version"], report["pair"]) == ("tiny", 1, None)
    found = result["evaluation"]
    assert (found["data"], found["images"]) == ("folder:photos", 12)
    assert (found["top1"]["count"], found["top1"]["share"]) == (10, 10 / 12)
    assert found["top5"] is None  # the model has five classes
    assert found["classes"][0] == {
        "label": "class 0",
        "images": 4,
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
    }
    assert found["classes"][1]["precision"] == 0.5
    assert [0, 1, 2] in found["confusion"]
    # All answers are as sure as the softmax of (10, 0, 0, 0, 0), and ten of twelve are right.
    assert found["ece"] == pytest.approx(0.99982 - 10 / 12, abs=1e-4)
    output = capsys.readouterr().out
    assert "12 images of folder:photos" in output
    assert "top-5" not in output
    assert "83.33 (55.20-95.30)" in output
    rows = [line.split() for line in output.splitlines()]
    assert ["class", "0", "4", "100.0", "50.0", "66.7"] in rows


def test_files_that_are_not_read(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Files without the name of an image, and links that lead nowhere, are counted.
    """
    images = write_images(tmp_path / "photos")
    (images / NAMES[0] / "gone.png").symlink_to("nowhere")
    (images / NAMES[0] / "notes.txt").touch()
    (images / "lost.png").write_bytes(png(0))
    arguments = ("tiny", "--data", f"folder:{images}", "--model-repository", str(models))
    line = "left out: 1 .txt, 1 outside of the classes, 1 unreadable as a file"
    assert evaluate(tmp_path, *arguments)["notes"] == [line]
    assert line in capsys.readouterr().out


def test_two_models(tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Two models are compared on the same images by McNemar's test, and drawn.
    """
    images = write_images(tmp_path / "photos", per_class=3)
    figures = tmp_path / "figures"
    report = evaluate(
        tmp_path,
        *("tiny", "swapped", "--data", f"folder:{images}", "--model-repository", str(models)),
        *("--figures", str(figures)),
    )
    assert report["pair"] == {"only_first": 3, "only_second": 0, "p_value": pytest.approx(0.25)}
    assert "only tiny:1 is right about 3 images, only swapped:1 about 0; p = 0.25: the" in (
        capsys.readouterr().out
    )
    assert {path.name for path in figures.iterdir()} == {
        *("reliability.png", "confusion-tiny-1.png", "confusion-swapped-1.png")
    }


def test_models_without_a_difference(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Two models that are right about the same images are not said to differ by chance.
    """
    tiny.write(models, "same")
    images = write_images(tmp_path / "photos")
    report = evaluate(
        tmp_path, "tiny", "same", "--data", f"folder:{images}", "--model-repository", str(models)
    )
    assert report["pair"] == {"only_first": 0, "only_second": 0, "p_value": 1}
    output = capsys.readouterr().out
    assert "tiny:1 and same:1 are right about the same images: no difference to test" in output
    assert "chance" not in output


async def test_through_a_server(running: Running, tmp_path: Path) -> None:
    """
    A server gives the same evaluation as the artifact, but for its speed.
    """
    images = write_images(tmp_path / "photos", per_class=7, wrong=3)
    tiny.write(tmp_path / "models")
    arguments = ("tiny", "--data", f"folder:{images}", "--part", "all")
    local = evaluate(tmp_path, *arguments, "--model-repository", str(tmp_path / "models"))
    served = await asyncio.to_thread(evaluate, tmp_path, *arguments, "--address", running.address)
    differing = ("images_per_s", "measured_with", "measured_at", "ece", "bins")
    for name in local["results"][0]["evaluation"].keys() - set(differing):
        one, other = (each["results"][0]["evaluation"][name] for each in (local, served))
        assert one == other, name
    ece = served["results"][0]["evaluation"]["ece"]
    assert ece == pytest.approx(local["results"][0]["evaluation"]["ece"], abs=1e-5)


@pytest.mark.both_transports
async def test_server_that_takes_small_messages(serve: Serve, tmp_path: Path) -> None:
    """
    Calls that are too large are divided; an image that is too large alone cannot be used.
    """
    images = write_images(tmp_path / "photos", per_class=7)
    (images / NAMES[2] / "large.png").write_bytes(bytes(2000))
    async with serve(max_message_bytes=1000, max_image_bytes=1000) as running:
        found = await asyncio.to_thread(
            evaluate,
            tmp_path,
            *("tiny", "--data", f"folder:{images}", "--part", "all", "--skip-bad-images"),
            *("--address", running.address),
        )
    measured = found["results"][0]["evaluation"]
    assert (measured["images"], measured["skipped"], measured["top1"]["count"]) == (35, 1, 35)


def test_kept_beside_the_manifest(tmp_path: Path, models: Path) -> None:
    """
    With --write, the evaluation lies beside the manifest, which stays as it was, and is compared.
    """
    folder = models / "tiny" / "1"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    few = write_images(tmp_path / "few")
    many = write_images(tmp_path / "many", per_class=2)
    same = write_images(tmp_path / "same")
    for images in (few, many, same):
        options = ("--data", f"folder:{images}", "--model-repository", str(models), "--write")
        evaluate(tmp_path, "tiny", *options)
    # The content tells data sets apart, whatever their folders are called.
    evaluations = ModelRepository(models).read("tiny", 1).evaluations
    assert [(one.data, one.images) for one in evaluations] == [
        ("folder:many", 10),
        ("folder:same", 5),
    ]
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.keys() == before.keys() | {"evaluation.json"}
    assert all(after[name] == content for name, content in before.items())
    # The comparison has a column for each of them.
    tiny.write(models, "other")
    shown = ("--model-repository", str(models), "--seconds", "0.01", "--batch-sizes", "1")
    assert main(["compare", *shown, "--json", str(tmp_path / "comparison.json")]) == 0
    networks = {
        network.name: network
        for network in comparison_data.read(tmp_path / "comparison.json").networks
    }
    assert [one.top1 for one in networks["tiny"].evaluations] == [1.0, 1.0]
    assert networks["other"].evaluations == ()


def test_evaluations_of_a_newer_convoy(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    With --write, a file of a newer convoy is an error before the first image is decoded.
    """
    images = write_images(tmp_path / "photos")
    (images / NAMES[0] / "bad.png").touch()
    kept = models / "tiny" / "1" / "evaluation.json"
    kept.write_text('{"schema_version": 9}')
    arguments = ("tiny", "--data", f"folder:{images}", "--model-repository", str(models))
    assert main(["evaluate", *arguments, "--write"]) == 1
    assert f"convoy evaluate: {kept}: schema_version 9 is newer" in capsys.readouterr().err


def test_test_part_of_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A model is not measured on images that it was trained on, unless the user says so.
    """
    images = write_images(tmp_path / "photos", per_class=10)
    training = Training(
        data="folder:photos", data_source="folder:photos", images=35, seed=0, recipe={}
    )
    tiny.write(tmp_path / "models", training=training)
    arguments = ("tiny", "--data", f"folder:{images}", "--model-repository", f"{tmp_path}/models")
    for part, name, count in (
        ((), "folder:photos, test part", 10),
        (("--part", "validation"), "folder:photos, validation part", 5),
        (("--part", "all"), "folder:photos", 50),
    ):
        found = evaluate(tmp_path, *arguments, *part)["results"][0]["evaluation"]
        assert (found["data"], found["images"]) == (name, count)
    output = capsys.readouterr().out
    assert "10 images of folder:photos, test part" in output
    # Manifests of older versions have no hash, and the name is no proof.
    assert "note: the manifest of tiny:1 has no hash of its training data; folder:photos is" in (
        output
    )


def trained(models: Path, images: Path) -> None:
    """Write the tiny model with the record of a training on the folder *images*."""
    spec, console = tiny.manifest().preprocessing, Console(quiet=True)
    data_set = check_images(load_folder(images), spec, console, skip_bad=True)
    training = Training(
        data=f"folder:{images.name}",
        data_source=f"folder:{images.name}",
        data_sha256=data_set_sha256(data_set),
        images=35,
        seed=0,
        recipe={},
        validation=Validation(images=5, loss=0.5, accuracy=0.5),
    )
    tiny.write(models, training=training, skipped_images=data_set.skipped)


def measured(place: Path, images: Path, *arguments: str) -> tuple[str, int, str]:
    """Return the name, the number of the measured images, and the notes about them."""
    report = evaluate(
        place,
        *("tiny", "--data", f"folder:{images}", "--model-repository", f"{place}/models"),
        *arguments,
    )
    found = report["results"][0]["evaluation"]
    return found["data"], found["images"], " ".join(report["notes"])


def test_content_tells_the_training_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A copy of the training data is recognised whatever its name is, and another folder of the same
    name is measured as a whole, with a warning.
    """
    images = write_images(tmp_path / "photos", per_class=10)
    trained(tmp_path / "models", images)
    copy = write_images(tmp_path / "copy", per_class=10)
    for folder in (images, copy):
        name = f"folder:{folder.name}, test part"
        assert measured(tmp_path, folder) == (name, 10, "")
    other = write_images(tmp_path / "other" / "photos", per_class=12)
    name, count, notes = measured(tmp_path, other)
    assert (name, count) == ("folder:photos", 60)
    assert notes.startswith(
        "warning: tiny:1 was trained on data of the same name, folder:photos, with other content"
    )
    assert notes in capsys.readouterr().out
    assert measured(tmp_path, other, "--part", "test") == ("folder:photos, test part", 10, "")
    new = write_images(tmp_path / "new", per_class=3)
    assert measured(tmp_path, new) == ("folder:new", 15, "")


def test_unreadable_images_of_the_training(tmp_path: Path) -> None:
    """
    Images that a training left out do not keep its data from being recognised.
    """
    images = write_images(tmp_path / "photos", per_class=10)
    (images / "class 0" / "bad.png").write_bytes(b"no image")
    trained(tmp_path / "models", images)
    name, _, notes = measured(tmp_path, images, "--skip-bad-images")
    assert (name, notes) == ("folder:photos, test part", "")


@pytest.mark.parametrize(
    ("part", "warning"),
    [
        ("train", "warning: tiny:1 was trained on 35 of these 35 images"),
        ("all", "warning: tiny:1 was trained on 35 of these 50 images"),
        ("validation", ""),
        ("test", ""),
    ],
)
def test_parts_that_were_trained_on(tmp_path: Path, part: str, warning: str) -> None:
    """
    A part of the training data that is measured on purpose gets a warning if it was trained on.
    """
    images = write_images(tmp_path / "photos", per_class=10)
    trained(tmp_path / "models", images)
    _, _, notes = measured(tmp_path, images, "--part", part)
    assert notes.partition(";")[0] == warning


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line with which the command refuses."""
    try:
        code = main(["evaluate", *arguments])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    assert code in (1, 2)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Traceback" not in error
    return error


def test_classes_that_differ(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Classes that the model does not know are named; their order is taken only if the user says so.
    """
    for index in range(tiny.CLASSES):
        (tmp_path / "photos" / f"{index}").mkdir(parents=True)
        (tmp_path / "photos" / f"{index}" / "a.png").write_bytes(png(index))
    arguments = ("tiny", "--data", f"folder:{tmp_path / 'photos'}")
    repository = ("--model-repository", str(models))
    assert "tiny:1 does not know the classes 0, 1, 2 and 2 more: name the folders as" in refused(
        capsys, *arguments, *repository
    )
    report = evaluate(tmp_path, *arguments, *repository, "--by-order")
    assert report["results"][0]["evaluation"]["top1"]["count"] == 5
    # A test set without images of some class is measured by the names of the others.
    some = write_images(tmp_path / "some")
    (some / NAMES[0] / "0.png").unlink()
    (some / NAMES[0]).rmdir()
    report = evaluate(tmp_path, "tiny", "--data", f"folder:{some}", *repository)
    assert report["results"][0]["evaluation"]["top1"]["count"] == 4
    assert report["results"][0]["evaluation"]["classes"][0]["recall"] is None


def test_images_that_cannot_be_decoded(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Undecodable images are named, or left out and counted.
    """
    images = write_images(tmp_path / "photos", per_class=2)
    (images / NAMES[3] / "bad.png").write_bytes(b"no image")
    arguments = ("tiny", "--data", f"folder:{images}", "--model-repository", str(models))
    assert "bad.png cannot be decoded" in refused(capsys, *arguments)
    found = evaluate(tmp_path, *arguments, "--skip-bad-images")["results"][0]["evaluation"]
    assert (found["images"], found["skipped"], found["top1"]["count"]) == (10, 1, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none", "--data", "folder:photos"), "no model 'none' in"),
        (("tiny:7", "--data", "folder:photos"), "no version 7 of 'tiny'"),
        (("tiny:x", "--data", "folder:photos"), "'tiny:x' is no model: expected NAME, or NAME:"),
        (("tiny", "--data", "folder:nowhere"), "cannot read the data folder nowhere"),
        (("tiny", "--data", "photos"), "unknown data set 'photos'"),
        (("labels", "--data", "folder:photos"), "labels is a multi-label model"),
        (("tiny", "--data", "folder:photos", "--address", "x", "--write"), "leave out --address"),
        (("tiny",), "--data"),
    ],
)
def test_refusals(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """
    A mistake is one line.
    """
    monkeypatch.chdir(tmp_path)
    tiny.write(Path("model_repository"))
    tiny.write_multi_label(Path("model_repository"), "labels")
    write_images(Path("photos"))
    assert message in refused(capsys, *arguments)


async def test_refusals_of_a_server(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Which images a served model was trained on is not known, so that the user must choose a part.
    """
    images = write_images(tmp_path / "photos")
    address = ("--address", running.address)
    found = await asyncio.to_thread(refused, capsys, "tiny", "--data", f"folder:{images}", *address)
    assert "give --part test for the images of" in found
    found = await asyncio.to_thread(
        refused, capsys, "none", "--data", f"folder:{images}", "--part", "all", *address
    )
    assert "serves no none; it serves tiny:1. To measure a model of the repository" in found


async def test_multi_label_model_of_a_server(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    It is refused, as that of a repository is.
    """
    images = write_images(tmp_path / "photos")
    tiny.write_multi_label(tmp_path, "labels")
    async with serve() as running:
        arguments = ("labels", "--data", f"folder:{images}", "--part", "all")
        found = await asyncio.to_thread(refused, capsys, *arguments, "--address", running.address)
    assert "labels is a multi-label model" in found


def test_without_pytorch(tmp_path: Path, models: Path) -> None:
    """
    A model is measured where PyTorch is not installed.
    """
    images = write_images(tmp_path / "photos")
    program = (
        "import sys; sys.modules['torch'] = sys.modules['torchvision'] = None; "
        "sys.modules['safetensors'] = None; "
        "from convoy.__main__ import main; sys.exit(main())"
    )
    arguments = ("tiny", "--data", f"folder:{images}", "--model-repository", str(models))
    done = subprocess.run(
        [sys.executable, "-c", program, "evaluate", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "100.00 (56.55-100.00)" in done.stdout


@pytest.fixture
def fixed(tmp_path: Path) -> Iterator[Path]:
    """A repository on a file system that cannot be written."""
    root = tmp_path / "fixed"
    root.mkdir()
    if os.system(f"mount -t tmpfs tmpfs {root} 2>/dev/null"):
        pytest.skip("needs the right to mount")
    tiny.write(root)
    assert os.system(f"mount -o remount,ro {root}") == 0
    yield root
    os.system(f"umount -l {root}")


@pytest.mark.parametrize("command", ["evaluate", "baseline", "tune"])
def test_nothing_is_measured_that_cannot_be_kept(
    tmp_path: Path, fixed: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A repository that cannot be written is an error before the first image is decoded.
    """
    images = write_images(tmp_path / "photos")
    (images / NAMES[0] / "bad.png").touch()
    data = () if command == "tune" else ("--data", f"folder:{images}")
    write = ("--write",) if command == "evaluate" else ()
    assert main([command, "tiny", *data, *write, "--model-repository", str(fixed)]) == 1
    shown = capsys.readouterr()
    assert shown.err == f"convoy {command}: {fixed}/tiny/1: Read-only file system\n"
    assert shown.out == ""
