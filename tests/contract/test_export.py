"""The boundary between export and service: one manifest and one preprocessing."""

import io
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from convoy.artifact.errors import RepositoryError
from convoy.artifact.manifest import Manifest
from convoy.artifact.preprocess import image_to_input
from convoy.artifact.repository import ModelRepository
from convoy.artifact.stores import RemoteRepository
from convoy.service.runtime.device import Device
from convoy.service.runtime.session import Session

pytest.importorskip("torch", reason="export needs PyTorch")

from safetensors.torch import save_file

from convoy.__main__ import main
from convoy.export import artifact_writer, data, exporter
from convoy.export.data.content import data_set_sha256, images_sha256
from convoy.export.errors import DataError, ExportError, TrainingError
from convoy.export.export_settings import ExportSettings
from convoy.export.training.batches import Photos
from convoy.export.training.run_folder import locked
from convoy.export.training.run_record import git_state, read_record, write_record
from convoy.export.training.validation import Validation
from convoy.models import ARCHITECTURES
from tests.harness import tiny


def settings(root: Path, **changes: object) -> ExportSettings:
    """One short epoch; the folder of the training lies beside the repository *root*."""
    return ExportSettings.model_validate(
        {
            "architecture": "lenet5",
            "model_repository": root,
            "runs": root.parent / "runs",
            "epochs": 1,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A repository with one export, and what was printed."""
    root = tmp_path_factory.mktemp("export") / "models"
    output = io.StringIO()
    exporter.export(settings(root), Console(file=output, width=200))
    return root, output.getvalue()


def test_version_that_another_command_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The error of an export whose number is taken meanwhile names the command that continues it.
    """
    root, write = tmp_path / "models", artifact_writer.write

    def write_after_another(*arguments: Any) -> Manifest:
        tiny.write(root, "lenet5")
        return write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(exporter, "write", write_after_another)
        with pytest.raises(RepositoryError) as raised:
            exporter.export(settings(root), Console(file=io.StringIO()))
    assert str(raised.value) == (
        f"cannot write {root}/lenet5/1: another writer has taken this version; try again; the "
        f"weights are kept: export them with `convoy export --from {tmp_path}/runs/lenet5`"
    )
    again = ExportSettings(from_run=tmp_path / "runs" / "lenet5", model_repository=str(root))
    exporter.export(again, Console(file=io.StringIO()))
    assert ModelRepository(root).versions("lenet5") == [1, 2]


def test_manifest_is_complete(exported: tuple[Path, str]) -> None:
    """
    The manifest says what was trained, how, on what, how well and at what cost.
    """
    manifest = ModelRepository(exported[0]).read("lenet5", 1).manifest
    assert (manifest.architecture, manifest.parameter_count, manifest.macs) == (
        "lenet5",
        61_706,
        416_520,
    )
    assert manifest.training is not None
    assert (manifest.training.data, manifest.training.images) == ("mnist5k", 3500)
    assert manifest.training.recipe["epochs"] == manifest.training.epoch == 1
    assert manifest.training.validation is not None
    assert manifest.training.validation.images == 500
    assert manifest.training.validation.accuracy > 0.5
    assert manifest.training.data_sha256 == data_set_sha256(data.load("mnist5k"))
    (evaluation,) = manifest.evaluations
    assert (evaluation.origin, evaluation.images) == ("measured", 1000)
    test = data.load("mnist5k").test
    assert evaluation.data_sha256 == images_sha256(test, tuple("0123456789"))
    assert evaluation.top5 is not None
    assert 0.5 < evaluation.top1 <= evaluation.top5 <= 1
    assert manifest.memory is not None
    assert manifest.memory.batch_size == manifest.max_batch_size == 32
    assert {"convoy", "torch", "onnxruntime", "pillow", "simplejpeg"} < set(manifest.tools)


def test_summary_and_progress(exported: tuple[Path, str]) -> None:
    """
    Without a terminal, too, the training shows how it goes, and the end says what was made.
    """
    _, output = exported
    assert "epoch 1/1" in output
    assert "100%" in output
    assert "proof: ONNX Runtime and PyTorch differ by" in output
    assert "top-1" in output


def test_baseline_of_the_validation_images(exported: tuple[Path, str]) -> None:
    """
    An export comes with the baseline that a server finds drift with, of the validation images.
    """
    artifact = ModelRepository(exported[0]).read("lenet5", 1)
    validation = data.load("mnist5k").validation
    assert artifact.baseline is not None
    assert artifact.baseline.data == "mnist5k, validation part"
    assert artifact.baseline.images == len(validation)
    assert artifact.baseline.data_sha256 == images_sha256(validation, artifact.manifest.labels)
    assert artifact.baseline.model_sha256 == artifact.manifest.model_sha256
    assert "baseline for --drift: 500 images of mnist5k, validation part" in exported[1]


def test_server_answers_as_export_measured(exported: tuple[Path, str]) -> None:
    """
    Through the server's own session and preprocessing, the accuracy is the manifest's.
    """
    artifact = ModelRepository(exported[0]).read("lenet5", 1)
    session = Session(artifact, Device(policy="cpu", cores=1))
    test = data.load("mnist5k").test
    batch = np.stack(
        [image_to_input(test.image(index), artifact.manifest) for index in range(len(test))]
    )
    correct = (session.run(batch)["logits"].argmax(1) == test.labels).sum()
    assert correct == round(artifact.manifest.evaluations[0].top1 * len(test))


def test_folder_of_images(tmp_path: Path) -> None:
    """
    A folder with a sub-folder per class trains a network of these classes.
    """
    digits = data.load("mnist5k").validation
    for index in range(len(digits)):
        if digits.labels[index] < 2:
            folder = tmp_path / "images" / ("zero", "one")[digits.labels[index]]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{index}.png").write_bytes(digits.image(index))
    images = tmp_path / "images"
    (images / "one" / "notes.txt").touch()
    (images / "zero" / "bad.png").write_bytes(b"no image")
    root, output = tmp_path / "models", io.StringIO()
    exporter.export(
        settings(root, data=f"folder:{images}", name="binary", epochs=5, skip_bad_images=True),
        Console(file=output, width=200),
    )
    assert "left out: 1 .txt" in output.getvalue()
    assert "no baseline for --drift" in output.getvalue()
    artifact = ModelRepository(root).read("binary", 1)
    assert artifact.baseline is None  # of so few images it would differ by chance
    manifest = artifact.manifest
    assert manifest.labels == ("one", "zero")
    (evaluation,) = manifest.evaluations
    assert (evaluation.images, evaluation.top5) == (20, None)
    assert manifest.skipped_images == ("zero/bad.png",)
    assert manifest.training is not None
    assert manifest.training.validation is not None
    used = manifest.training.images + manifest.training.validation.images + evaluation.images
    assert used == len(list(images.rglob("*.png"))) - 1
    assert str(tmp_path) not in manifest.model_dump_json()


def test_validation_writes_nothing(tmp_path: Path) -> None:
    """
    While a recipe is being chosen, the test digits stay unseen and nothing is written.
    """
    output = io.StringIO()
    root = tmp_path / "models"
    path = exporter.export(settings(root, validate_only=True), Console(file=output, width=200))
    assert path is None
    assert "on 500 validation images; after the last, 1: " in output.getvalue()
    assert output.getvalue().endswith("; no artifact written\n")
    assert not root.exists()
    header, row = (tmp_path / "runs" / "lenet5" / "metrics.csv").read_text().splitlines()
    measured = dict(zip(header.split(","), row.split(","), strict=True))
    assert float(measured["validation_accuracy"]) > 0.5


@pytest.mark.parametrize(
    "where",
    [
        "convoy.export.training.trained_network.train",
        *(
            pytest.param(where, marks=pytest.mark.slow)
            for where in (
                *(
                    "convoy.export.onnx.graph.export_onnx",
                    "convoy.export.onnx.graph.prove",
                    "convoy.export.artifact_writer.write_golden",
                ),
                "convoy.export.artifact_writer.measure_memory",
            )
        ),
        "pathlib.Path.rename",
    ],
)
def test_interrupted_export_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """
    Ctrl-C leaves no half-written version behind, whenever it comes.
    """

    def interrupt(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        exporter.export(settings(tmp_path / "models"), Console(file=io.StringIO()))
    assert not any((tmp_path / "models").glob("*"))


def test_unwritable_repository_fails_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A training whose result cannot be written does not begin.
    """
    (tmp_path / "file").touch()
    monkeypatch.setattr("convoy.export.training.trained_network.train", pytest.fail)
    with pytest.raises(RepositoryError, match="cannot write"):
        exporter.export(settings(tmp_path / "file"), Console(file=io.StringIO()))


def test_damaged_test_image_fails_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A training that would fail does not begin, and names all images that cannot be decoded.
    """
    for name in ("one", "two"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for index in range(10):
            (folder / f"{index}.png").write_bytes(b"no image")
    monkeypatch.setattr("convoy.export.training.trained_network.train", pytest.fail)
    with pytest.raises(DataError, match=r"20 of 20 .* this is text; .* --skip-bad-images"):
        exporter.export(
            settings(tmp_path / "models", data=f"folder:{tmp_path / 'images'}"),
            Console(file=io.StringIO()),
        )


def test_batches_of_one_image(tmp_path: Path) -> None:
    """
    Batch norm cannot learn from one pixel of one image, which is one line with the remedy.
    """
    chosen = settings(tmp_path / "models", architecture="resnet18", batch_size=1)
    with pytest.raises(TrainingError, match="at least two images in each step of each process"):
        exporter.export(chosen, Console(file=io.StringIO()))


def test_killed_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A process that decodes photographs and is killed, as for want of memory, gives one line.
    """
    digits = data.load("mnist5k").validation
    for name in ("one", "two"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for index in range(10):
            (folder / f"{index}.png").write_bytes(digits.image(index))
    training = os.getpid()

    def ending(self: Photos, key: object) -> None:
        assert os.getpid() != training
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(Photos, "__getitem__", ending)
    options = {"architecture": "resnet18", "data": f"folder:{tmp_path / 'images'}", "workers": 1}
    with pytest.raises(TrainingError, match=r"decode photographs was killed .* fewer --workers"):
        exporter.export(
            settings(tmp_path / "models", input_px=32, **options), Console(file=io.StringIO())
        )


def test_training_on_the_validation_images(tmp_path: Path) -> None:
    """
    All but the test images are trained on if the user says so, and the output says so, too.
    """
    output = io.StringIO()
    root = tmp_path / "models"
    exporter.export(settings(root, train_on_validation=True), Console(file=output, width=200))
    assert "4000 to train, 1000 to test; not validated, as --train-on-valid" in output.getvalue()
    assert "weights of the last epoch, 1: nothing was validated" in output.getvalue()
    artifact = ModelRepository(root).read("lenet5", 1)
    training, baseline = artifact.manifest.training, artifact.baseline
    assert training is not None
    assert (training.images, training.validation) == (4000, None)
    # Answers to images that were trained on are surer than others.
    assert baseline is not None
    assert (baseline.data, baseline.images) == ("mnist5k, test part", 1000)
    assert {path.name for path in (tmp_path / "runs" / "lenet5").iterdir()} == {
        *("last.safetensors", "run.json", "metrics.csv", "curves.png")
    }


def test_best_weights_are_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The artifact has the weights of the best epoch, which need not be the last.
    """
    found = iter([0.5, 0.9, 0.8])
    monkeypatch.setattr(Validation, "__call__", lambda self, network: (1.0, next(found)))
    root, runs = tmp_path / "models", tmp_path / "runs"
    exporter.export(settings(root, epochs=3), Console(file=io.StringIO()))
    training = ModelRepository(root).read("lenet5", 1).manifest.training
    assert training is not None
    assert training.validation is not None
    assert (training.epoch, training.validation.accuracy) == (2, 0.9)
    # The same weights again, from either file: the one of the best epoch is the artifact's.
    for file in ("best", "last"):
        path = runs / "lenet5" / f"{file}.safetensors"
        kept = ExportSettings(from_run=path, name=file, model_repository=root, runs=runs)
        exporter.export(kept, Console(file=io.StringIO()))
    exported, best, last = (
        ModelRepository(root).read(name, 1).manifest for name in ("lenet5", "best", "last")
    )
    assert exported.model_sha256 == best.model_sha256 != last.model_sha256
    assert (best.training, best.evaluations) == (exported.training, exported.evaluations)
    assert last.training is not None
    assert last.training.epoch == 3


def test_object_store(exported: tuple[Path, str], tmp_path: Path) -> None:
    """
    A model is written to a store, and its URL is shown.
    """
    url, runs = "memory://export/models", exported[0].parent / "runs"
    kept = ExportSettings(from_run=runs / "lenet5", model_repository=url, runs=runs)
    output = io.StringIO()
    written = exporter.export(kept, Console(file=output, width=200))
    assert written is not None
    assert written[0] == f"{url}/lenet5/1"
    assert f"artifact        {url}/lenet5/1" in output.getvalue()
    stored = RemoteRepository(url, tmp_path).read("lenet5", 1)
    assert stored.manifest == written[1]
    assert stored.baseline is not None
    assert stored.baseline.data == "mnist5k, validation part"


def test_kept_weights_in_fewer_bits(exported: tuple[Path, str], tmp_path: Path) -> None:
    """
    Kept weights are exported in another precision without training, under the run's name.
    """
    runs, output = exported[0].parent / "runs", io.StringIO()
    kept = ExportSettings(
        from_run=runs / "lenet5", precision="int8", model_repository=tmp_path, runs=runs
    )
    exporter.export(kept, Console(file=output, width=200))
    manifest = ModelRepository(tmp_path).read("lenet5", 1).manifest
    assert manifest.precision == "int8"
    before = ModelRepository(exported[0]).read("lenet5", 1).manifest
    assert manifest.training == before.training
    assert "epoch 1/1" not in output.getvalue()
    assert "of epoch 1: convoy export lenet5 --epochs 1\n" in output.getvalue()


def test_kept_weights_that_cannot_be_exported(exported: tuple[Path, str], tmp_path: Path) -> None:
    """
    Weights of another training, of another network, or without their record are refused.
    """
    run = tmp_path / "lenet5"
    shutil.copytree(exported[0].parent / "runs" / "lenet5", run)
    options = {"from_run": run, "model_repository": tmp_path / "models", "runs": tmp_path}

    def refusal(**changes: object) -> str:
        with pytest.raises(ExportError) as caught:
            exporter.export(
                ExportSettings.model_validate({**options, **changes}), Console(file=io.StringIO())
            )
        return str(caught.value)

    assert "holds weights of lenet5; leave out alexnet" in refusal(architecture="alexnet")
    assert "has no weights a.safetensors: there are best" in refusal(from_run=run / "a.safetensors")
    assert "run.json: No such file" in refusal(from_run=tmp_path)
    record = (run / "run.json").read_text()
    (run / "run.json").write_text(record.replace('"data": "mnist5k"', '"data": "hard5k"'))
    assert "the images of hard5k have changed since the training" in refusal()
    (run / "run.json").write_text(record)
    write_record(read_record(run).model_copy(update={"kept": ()}), run)
    command = f"convoy export lenet5 --epochs 1 --runs {tmp_path}"
    assert refusal() == f"the training in {run} is not finished; go on with it: {command}"
    (run / "run.json").write_text(record)
    (run / "best.safetensors").write_bytes((run / "best.safetensors").read_bytes()[:-4])
    assert "cannot read the weights" in refusal()
    other = ARCHITECTURES["lenet5"].build(num_classes=10).state_dict()
    save_file(other, run / "best.safetensors")
    assert "best.safetensors is not the file that" in refusal()
    assert not any((tmp_path / "models").glob("*"))


def test_finished_training_is_moved_aside(tmp_path: Path) -> None:
    """
    A training with other options keeps the weights of a finished one beside its own; the same
    options again make the same weights.
    """
    root, run, output = tmp_path / "models", tmp_path / "runs" / "lenet5", io.StringIO()
    weights = []
    for seed in (0, 0, 1):
        exporter.export(settings(root, seed=seed), Console(file=output, width=300))
        weights.append((run / "best.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
    assert f"{run} held the weights of this very training, which is repeated" in output.getvalue()
    assert f"the finished training in {run} was moved to {run}.1" in output.getvalue()
    assert (tmp_path / "runs" / "lenet5.1" / "best.safetensors").read_bytes() == weights[0]
    assert read_record(run).command == "convoy export lenet5 --seed 1 --epochs 1"
    assert read_record(tmp_path / "runs" / "lenet5.1").kept[0].file == "best.safetensors"


def test_finished_training_that_is_repeated(
    exported: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Until the same training has ended once more, its weights can be exported. Then only one copy of
    them is left.
    """
    runs, output = tmp_path / "runs", io.StringIO()
    shutil.copytree(exported[0].parent / "runs", runs)
    before = (runs / "lenet5" / "best.safetensors").read_bytes()

    def interrupt(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("convoy.export.training.trained_network.train", interrupt)
        with pytest.raises(KeyboardInterrupt):
            exporter.export(settings(tmp_path / "models"), Console(file=output, width=1000))
    assert f"--from {runs}/lenet5.1 exports them without training" in output.getvalue()
    assert not (runs / "lenet5" / "best.safetensors").exists()
    kept = ExportSettings.model_validate(
        {"from_run": runs / "lenet5.1", "model_repository": tmp_path / "models", "runs": runs}
    )
    assert exporter.export(kept, Console(file=output)) is not None
    shutil.copytree(runs / "lenet5.1", runs / "lenet5", dirs_exist_ok=True)
    shutil.rmtree(runs / "lenet5.1")
    exporter.export(settings(tmp_path / "models"), Console(file=output))
    assert (runs / "lenet5" / "best.safetensors").read_bytes() == before
    assert not (runs / "lenet5.1").exists()


def test_record_of_a_training(exported: tuple[Path, str]) -> None:
    """
    The record says what the weights were made with, and how many images of each class there were.
    """
    record = read_record(exported[0].parent / "runs" / "lenet5")
    assert record.command == "convoy export lenet5 --epochs 1"
    assert record.images["train"] == dict.fromkeys("0123456789", 350)
    assert record.images["validation"] == dict.fromkeys("0123456789", 50)
    assert record.training.seed == 0
    assert {"python", "torch", "numpy", "convoy"} < set(record.tools)
    assert [kept.file for kept in record.kept] == ["best.safetensors", "last.safetensors"]
    # The tests run in a checkout, if git is there.
    commit = git_state(Path(__file__).parent)
    assert record.git.get("convoy", "").removesuffix("-dirty") == (commit or "").removesuffix(
        "-dirty"
    )
    assert commit is None or re.fullmatch("[0-9a-f]{40}(-dirty)?", commit)


def test_folder_that_git_does_not_know(tmp_path: Path) -> None:
    """
    A folder outside of a checkout has no commit.
    """
    assert git_state(tmp_path) is None


def test_unknown_architecture(tmp_path: Path) -> None:
    """
    A name that is not a network is refused with the closest one.
    """
    with pytest.raises(ValueError, match=r"unknown network 'lenet6'; did you mean lenet5\?"):
        settings(tmp_path / "models", architecture="lenet6")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["lenet6"], 2, "unknown network 'lenet6'; did you mean lenet5?"),
        (["lenet5", "--data", "cifar"], 2, "unknown data set 'cifar'; did you mean cifar10?"),
        (["lenet5", "--data", "/usr"], 2, "unknown data set '/usr'; did you mean folder:/usr?"),
        (["lenet5", "--data", "mnist:"], 2, "unknown data set 'mnist:'"),
        (["lenet5", "--evaluation-data", "x"], 2, "'x'; expected one of mnist5k, hard5k, folder:"),
        (["lenet5", "--name", "../up"], 2, "--name:"),
        (["lenet5", "--seed", str(2**63)], 2, "--seed:"),
        (["lenet5", "--epochs", "-1"], 2, "--epochs"),
        (["lenet5", "--input-px", "64"], 1, "--input-px 64: lenet5 takes images of 32 x 32"),
        (["vgg16", "--input-px", "16"], 1, "vgg16 takes images of 32 x 32 pixels or more"),
        (["resnet18", "--weights", "none.pth"], 1, "cannot read the weights none.pth"),
        (["resnet18", "--head-epochs", "1"], 2, "--head-epochs is for fine-tuning"),
        (["resnet18", "--weights", "w", "--precision", "int8"], 2, "give --evaluation-data"),
        (["resnet18", "--labels", "n.txt"], 2, "--labels: only for a file of --weights without"),
        (
            ["resnet18", "--weights", "w", "--data", "mnist5k", "--labels", "n.txt"],
            2,
            "--labels: only for a file of --weights without --data; leave it out",
        ),
        (["resnet18", "--mean", "0.5"], 2, "--mean: only for a file of --weights"),
        (["resnet18", "--resize", "9"], 2, "--resize: only for a file of --weights"),
        (["resnet18", "--weights", "timm", "--std", "1"], 2, "--std: only for a file"),
        (["--from", "runs/a", "--input-px", "99"], 2, "--input-px: only for a training or"),
        (
            ["resnet18", "--weights", "w", "--epochs", "3", "--seed", "1"],
            2,
            "--epochs, --seed: only for a training; leave it out, or add --data",
        ),
        (["resnet18", "--weights", "w", "--device", "cpu"], 2, "--device: only for a training"),
        (["resnet18", "--weights", "w", "--skip-bad-images"], 2, "add --evaluation-data"),
        (["lenet5", "--max-accuracy-loss", "0.1"], 2, "only for --precision fp16 or int8"),
        (["lenet5", "--train-on-validation", "--early-stopping", "3"], 2, "leaves no images"),
        (["--from", "runs/a", "--data", "mnist5k"], 2, "leave out --data, --weights and"),
        (
            ["--from", "runs/a", "--seed", "1"],
            2,
            "training; leave it out, as --from",
        ),
        (["--from", "runs/none"], 1, "there is no training in runs/none"),
        ([], 2, "name a network, such as lenet5, or a training with --from"),
    ],
)
def test_command_line_errors(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    """
    A mistake on the command line is one line and an exit code.
    """
    folders = ["--model-repository", str(tmp_path / "models"), "--runs", str(tmp_path / "runs")]
    assert main(["export", *arguments, *folders]) == code
    (line,) = capsys.readouterr().err.lower().splitlines()
    assert message in line


def test_device_that_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A GPU that is asked for is never replaced by a processor in silence.
    """
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ExportError, match="--device cuda: PyTorch cannot find a GPU"):
        exporter.export(settings(tmp_path / "models", device="cuda"), Console(file=io.StringIO()))


def test_second_training_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """
    Two exports of one name at once do not overwrite each other's checkpoints.
    """
    with (
        locked(tmp_path / "runs" / "lenet5"),
        pytest.raises(TrainingError, match=r"lenet5: wait for it, or choose another --name"),
    ):
        exporter.export(settings(tmp_path / "models"), Console(file=io.StringIO()))
    assert not any((tmp_path / "models").glob("*"))
