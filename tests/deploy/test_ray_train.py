"""Ray Train runs the same loop as torchrun: two workers on this machine, one of which is killed."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="export needs PyTorch")
if not find_spec("ray"):
    pytest.skip("Ray is not installed: make test-deploy", allow_module_level=True)

from safetensors.torch import load_file

from convoy.export.training.epoch_log import METRICS_FILE, read_metrics
from convoy.export.training.run_folder import BEST_FILE, LAST_FILE

PROGRAM = """
import os, pathlib, signal, sys, threading, time
import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer

root = pathlib.Path(sys.argv[1])


def die_once():
    # The second worker, as soon as there is a checkpoint to resume from.
    while not (root / "runs" / "lenet5" / "checkpoint.pt").exists():
        time.sleep(0.01)
    (root / "killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def loop():
    from convoy import train

    if get_context().get_world_rank() == 1 and not (root / "killed").exists():
        threading.Thread(target=die_once, daemon=True).start()
    train("lenet5", epochs=3, device="cpu", runs=root / "runs")


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False)
    trainer = TorchTrainer(
        loop,
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(
            storage_path=str(root / "ray"), failure_config=FailureConfig(max_failures=1)
        ),
    )
    trainer.fit()
"""


@pytest.mark.timeout(900)
def test_killed_worker(tmp_path: Path) -> None:
    """
    A training under Ray, one of whose two workers is killed, resumes from its checkpoint, and ends
    with the weights and the validation of torchrun's two processes.
    """
    (tmp_path / "program.py").write_text(PROGRAM)
    # Threads would add up in another order; the niceness of Ray's workers is for shared machines.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}  # noqa: TID251
    environment["RAY_USAGE_STATS_ENABLED"] = "0"
    done = subprocess.run(
        [sys.executable, "program.py", str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "killed").exists()
    assert "resuming after epoch" in done.stdout + done.stderr
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", "-m", "convoy", "export", "lenet5"]
    command += ["--epochs", "3", "--device", "cpu", "--runs", "torchrun"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    ours, theirs = tmp_path / "runs" / "lenet5", tmp_path / "torchrun" / "lenet5"
    for name in (BEST_FILE, LAST_FILE):
        weights, expected = load_file(ours / name), load_file(theirs / name)
        assert weights.keys() == expected.keys()
        assert all(weights[key].equal(expected[key]) for key in weights)
    measured, expected_epochs = (read_metrics(folder / METRICS_FILE) for folder in (ours, theirs))
    for found, other in zip(measured, expected_epochs, strict=True):
        assert (found.loss, found.validation_loss) == (other.loss, other.validation_loss)
