"""An export that is ended from outside at any moment leaves no half-written version."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convoy.artifact.repository import ModelRepository

pytest.importorskip("torch", reason="export needs PyTorch")

import torch
from safetensors.torch import load_file

COMMAND = (sys.executable, "-u", "-m", "convoy", "export", "lenet5")


@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        pytest.param("data", signal.SIGINT, 130, marks=pytest.mark.slow),
        ("epoch", signal.SIGINT, 130),
        pytest.param("epoch", signal.SIGTERM, 130, marks=pytest.mark.slow),
        pytest.param("epoch", signal.SIGKILL, -signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param("proof", signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param("proof", signal.SIGKILL, -signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_signal(tmp_path: Path, line: str, number: signal.Signals, code: int) -> None:
    """
    No version is visible, no traceback is shown, and only SIGKILL leaves a folder, which the
    next export removes.
    """
    root = tmp_path / "models"
    process = subprocess.Popen(
        [*COMMAND, *_folders(tmp_path), "--epochs", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout as output, process.stderr as errors:
        assert any(shown.startswith(line) for shown in output)
        process.send_signal(number)
        assert process.wait(30) == code
        assert "Traceback" not in errors.read()
    repository = ModelRepository(root)
    assert repository.names() == []
    left = [path for path in root.rglob("*") if path.is_file()]
    assert not left or number is signal.SIGKILL
    with repository.writing("lenet5") as (folder, _):
        assert list((root / "lenet5").iterdir()) == [folder]


@pytest.mark.slow
def test_goes_on_after_a_kill(tmp_path: Path) -> None:
    """
    A killed training is resumed where it was, and its measurements are those of all epochs.
    """
    command = [*COMMAND, *_folders(tmp_path), "--epochs", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch 3") for line in process.stdout)
        process.kill()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "resuming after epoch" in again.stdout
    assert "epoch 1/4" not in again.stdout
    rows = (tmp_path / "runs" / "lenet5" / "metrics.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", "1", "2", "3", "4"]
    assert not (tmp_path / "runs" / "lenet5" / "checkpoint.pt").exists()
    assert ModelRepository(tmp_path / "models").versions("lenet5") == [1]


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    """
    torchrun's processes share one training: one artifact, one set of measurements, of all images.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", *COMMAND[2:], *_folders(tmp_path)]
    done = subprocess.run(
        [*command, "--device", "cpu", "--epochs", "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("artifact ") == 1
    rows = (tmp_path / "runs" / "lenet5" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 4
    manifest = ModelRepository(tmp_path / "models").read("lenet5", 1).manifest
    assert manifest.evaluations[0].top1 > 0.8


_TRAINING = """
import dataclasses, sys
from pathlib import Path
import torch
from torch import nn
from convoy.export.recipes import SMALL
from convoy.export.training.batches import KeptBatches
from convoy.export.training.compute import joined
from convoy.export.training.run_folder import Run
from convoy.export.training.trainer import train

class Silent:
    def step(self, step): pass
    def epoch(self, epochs): pass

with joined("cpu", False) as compute:
    torch.manual_seed(0)
    recipe = dataclasses.replace(SMALL["lenet5"], epochs=1, batch_size=8, averaging=AVERAGING)
    network = nn.Sequential(nn.Flatten(), nn.Linear(1024, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    pixels = torch.randint(0, 256, (32, 32, 32, 1), dtype=torch.uint8)
    batches = KeptBatches(pixels, torch.arange(32) % 2, recipe, 0, compute)
    folder = Path(sys.argv[1]) / str(compute.rank)
    run = Run(folder, {})

    def validate(network):
        torch.save(network.state_dict(), folder / "measured.pt")
        return 1.0, 0.5

    train(network, batches, recipe, seed=0, compute=compute, run=run, listener=Silent(),
          validate=validate)
"""


@pytest.mark.slow
@pytest.mark.parametrize("averaging", [None, 0.9])
def test_processes_validate_one_network(tmp_path: Path, averaging: float | None) -> None:
    """
    The statistics of batch norm, which differ between processes, are the same in a validation.
    """
    program = tmp_path / "training.py"
    program.write_text(_TRAINING.replace("AVERAGING", str(averaging)))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", str(program), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = [torch.load(tmp_path / rank / "measured.pt") for rank in "01"]
    kept = load_file(tmp_path / "0" / "best.safetensors")
    for name, value in kept.items():
        assert all(torch.equal(value, one[name]) for one in measured), name


def _folders(path: Path) -> tuple[str, ...]:
    return "--model-repository", str(path / "models"), "--runs", str(path / "runs")
