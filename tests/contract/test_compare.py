"""`convoy compare` on a real repository."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.comparison.results import Comparison
from convoy.__main__ import main

SHORT = ["--seconds", "0.05", "--batch-sizes", "1,3"]


@pytest.fixture
def repository(lenet_repository: Path) -> list[str]:
    return ["--model-repository", str(lenet_repository)]


def test_measures_prints_and_writes(
    repository: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The table, the JSON and the figures are of the same measurements, which can be shown again.
    """
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    places = ["--json", str(tmp_path / "c.json"), "--figures", str(tmp_path / "figures")]
    assert main(["compare", *repository, *SHORT, *places]) == 0
    output = capsys.readouterr().out
    assert "lenet5" in output
    found = Comparison.model_validate_json((tmp_path / "c.json").read_text())
    (lenet,) = [network for network in found.networks if network.name == "lenet5"]
    assert [batch.batch_size for batch in lenet.batches] == [1, 3]
    assert all(batch.ms_per_image > 0 for batch in lenet.batches)
    assert lenet.batches[1].arena_peak_bytes > lenet.batches[0].arena_peak_bytes
    assert (lenet.parameters, lenet.macs) == (61_706, 416_520)
    assert lenet.top1 is not None
    assert len(list((tmp_path / "figures").glob("*.png"))) == 7
    assert main(["compare", "--from", str(tmp_path / "c.json")]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[:6] == output.splitlines()[:6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "vgg16"], "no model 'vgg16' in the repository: known are"),
        (["--model-repository", "nowhere"], "nowhere"),
        (["--from", "nothing.json"], "nothing.json"),
    ],
)
def test_mistakes(
    repository: list[str],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """
    What cannot be compared is one line and exit code 1.
    """
    assert main(["compare", *repository, *SHORT, *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("convoy compare: ")
    assert error.count("\n") == 1


def test_interrupted(repository: list[str], tmp_path: Path) -> None:
    """
    Ctrl-C keeps what is complete by then.
    """
    command = [sys.executable, "-m", "convoy", "compare", *repository, "--seconds", "6"]
    options = ["--batch-sizes", "1", "--json", str(tmp_path / "c.json")]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            process.wait(4)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=30)
    assert process.returncode == 0, error
    assert "lenet5" in output
    assert Comparison.model_validate_json((tmp_path / "c.json").read_text()).networks
