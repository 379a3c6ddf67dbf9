"""An export that is ended from outside, at whatever moment, leaves nothing half-written."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from artifact.repository import ModelRepository

pytest.importorskip("torch", reason="export needs PyTorch")

COMMAND = (sys.executable, "-u", "-m", "convoy", "export", "lenet5")


@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        ("data", signal.SIGINT, 130),
        ("epoch", signal.SIGINT, 130),
        ("epoch", signal.SIGTERM, 130),
        ("epoch", signal.SIGKILL, -signal.SIGKILL),
        ("proof", signal.SIGINT, 130),
        ("proof", signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_signal(tmp_path: Path, line: str, number: signal.Signals, code: int) -> None:
    """
    No version is visible, no traceback is shown, and only SIGKILL leaves a folder, which the
    next export removes.
    """
    process = subprocess.Popen(
        [*COMMAND, "--model-repository", str(tmp_path), "--epochs", "3"],
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
    repository = ModelRepository(tmp_path)
    assert repository.names() == []
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not left or number is signal.SIGKILL
    with repository.writing("lenet5") as (folder, _):
        assert list((tmp_path / "lenet5").iterdir()) == [folder]
