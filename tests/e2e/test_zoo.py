"""The zoo with its smallest network: trained, served, measured, written down."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="export needs PyTorch")

from bench.zoo.zoo_table import MARKS


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_zoo_of_one(tmp_path: Path) -> None:
    """
    A network that is trained already is measured again, not trained again.
    """
    (tmp_path / "architectures.md").write_text("\n".join(MARKS))
    places = ["--folder", str(tmp_path / "zoo"), "--docs", str(tmp_path)]
    command = [sys.executable, "-m", "bench.zoo", "lenet5", *places]
    subprocess.run(command, check=True)
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "is there already" in again.stdout
    (row,) = json.loads((tmp_path / "zoo.json").read_text())
    assert row["trained_on"] == "cpu"
    assert row["accuracy"] >= 0.95
    assert 0.7 < row["accuracy_hard"] < 0.98
    assert row["parameters"] == 61_706
    assert row["throughput_best"] > 0
    assert "`lenet5`" in (tmp_path / "architectures.md").read_text()
    shutil.rmtree(tmp_path / "zoo")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_that_fails(tmp_path: Path) -> None:
    """
    Several are trained at once; one that fails says why in its log, and the others are measured.
    """
    (tmp_path / "architectures.md").write_text("\n".join(MARKS))
    runs = tmp_path / "zoo" / "seed-0" / "runs"
    runs.mkdir(parents=True)
    (runs / "resnet20").write_text("not a folder")
    places = ["--folder", str(tmp_path / "zoo"), "--docs", str(tmp_path)]
    command = [sys.executable, "-m", "bench.zoo", "resnet20", "lenet5", *places]
    done = subprocess.run(
        [*command, "--jobs", "2", "--accuracy-only"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "resnet20 was not trained" in done.stderr
    assert "resnet20" in (runs.parent / "resnet20.log").read_text()
    (row,) = json.loads((tmp_path / "zoo.json").read_text())
    assert row["name"] == "lenet5"
    assert row["throughput_best"] is None
    shutil.rmtree(tmp_path / "zoo")
