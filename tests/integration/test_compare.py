"""`convoy compare` on a real repository."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convoy.__main__ import main
from convoy.commands.compare import comparison_data
from tests.harness import tiny
from tests.harness.full_disk import limited_files

SHORT = ["--seconds", "0.02", "--batch-sizes", "1,3"]


@pytest.fixture
def repository(tmp_path: Path, lenet_repository: Path) -> list[str]:
    """A LeNet-5 and a tiny model."""
    root = tmp_path / "models"
    shutil.copytree(lenet_repository, root)
    tiny.write(root)
    return ["--model-repository", str(root)]


def test_measures_prints_and_writes(
    repository: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Table, JSON and figures are of the same measurements, and can be made again without measuring.
    """
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    file, folder = tmp_path / "new" / "c.json", tmp_path / "figures"
    places = ["--json", str(file), "--figures", str(folder)]
    assert main(["compare", *repository, *SHORT, *places]) == 0
    output = capsys.readouterr().out
    found = comparison_data.read(file)
    lenet, small = found.networks
    assert (lenet.name, small.name) == ("lenet5", "tiny")
    assert (lenet.parameters, lenet.macs, lenet.input_px) == (61_706, 416_520, 32)
    assert lenet.evaluations
    assert [batch.batch_size for batch in lenet.batches] == [1, 3]
    assert "[1] measured here on mnist5k, test part, 1,000 images" in output
    assert f" {100 * lenet.evaluations[0].top1:.1f} " in output
    drawn = sorted(path.name for path in folder.iterdir())
    assert len(drawn) == 8  # nothing was published of the two
    shutil.rmtree(folder)
    assert main(["compare", "--from", str(file), "--figures", str(folder)]) == 0
    assert capsys.readouterr().out == output
    assert sorted(path.name for path in folder.iterdir()) == drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "vgg16"], "no model 'vgg16' in {root}; expected one of lenet5, tiny"),
        (["--model-repository", "nowhere"], "cannot read the model repository nowhere: No such"),
        (["--model-repository", "{root}/../empty"], "{root}/../empty holds no models"),
        (["--from", "nothing.json"], "nothing.json: No such file"),
        (["--from", "{root}/lenet5/1/manifest.json"], "manifest.json: machine: Field required"),
        (["--json", "/dev/null/c.json"], "/dev/null: "),
    ],
)
def test_mistakes(
    repository: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """
    A comparison that is not possible prints one line and exits with 1.
    """
    (tmp_path / "empty").mkdir()
    root = repository[1]
    given = [argument.format(root=root) for argument in arguments]
    measurement = [] if "--from" in given else [*repository, *SHORT]
    assert main(["compare", *measurement, *given]) == 1
    error = capsys.readouterr().err
    assert message.format(root=root) in error
    assert error.startswith("convoy compare: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(repository: list[str], tmp_path: Path, number: signal.Signals) -> None:
    """
    Ctrl-C prints and writes what there is by then, and says that it is not all.
    """
    file = tmp_path / "c.json"
    command = [sys.executable, "-m", "convoy", "compare", *repository]
    options = ["--batch-sizes", "1", "--seconds", "3", "--json", str(file)]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout as output, process.stderr as errors:
        assert any("tiny, round 1" in shown for shown in errors)
        process.send_signal(number)
        assert process.wait(30) == 130
        assert "Traceback" not in errors.read()
        assert "interrupted: tiny, round 1 of 3" in output.read()
    found = comparison_data.read(file)
    assert found.interrupted
    assert "lenet5" in {network.name for network in found.networks}


def test_interrupted_before_anything(tmp_path: Path) -> None:
    """
    With nothing measured there is nothing to print or write.
    """
    tiny.write(tmp_path / "models", model=tiny.graph(repeats=2000))
    command = [sys.executable, "-m", "convoy", "compare", "--model-repository"]
    options = [str(tmp_path / "models"), "--json", str(tmp_path / "c.json")]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout as output, process.stderr as errors:
        assert "tiny, round 1" in errors.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert errors.read() == "interrupted\n"
        assert output.read() == ""
    assert not (tmp_path / "c.json").exists()


def test_json_on_a_full_disk(
    repository: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    On a full disk, --json says so in one line and keeps the earlier results.
    """
    file = tmp_path / "results" / "c.json"
    file.parent.mkdir()
    file.write_text("before")
    measured = tmp_path / "measured.json"
    assert main(["compare", *repository, *SHORT, "--json", str(measured)]) == 0
    with limited_files(100):
        assert main(["compare", "--from", str(measured), "--json", str(file)]) == 1
    assert capsys.readouterr().err.endswith("convoy compare: File too large\n")
    assert file.read_text() == "before"
    assert list(file.parent.iterdir()) == [file]
