"""The zoo with its smallest network: trained, served, measured, written down."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.harness.images import encode

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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_zoo_of_photographs(tmp_path: Path) -> None:
    """
    Photographs as Imagenette's archive has them are trained on; the table is beside the trainings.
    """
    for part, count in (("train", 20), ("val", 5)):
        for colour, number in enumerate(("n01440764", "n03888257")):
            folder = tmp_path / "data" / "imagenette2" / part / number
            folder.mkdir(parents=True)
            for index in range(count):
                photo = Image.new("RGB", (80, 60), (200 * colour, 20 + index, 60))
                (folder / f"{number}_{index}.JPEG").write_bytes(encode(photo, "JPEG"))
    data = f"imagenette:{tmp_path / 'data'}"
    command = [sys.executable, "-m", "bench.zoo", "lenet5", "--data", data, "--accuracy-only"]
    subprocess.run([*command, "--folder", str(tmp_path / "zoo")], check=True)
    (row,) = json.loads((tmp_path / "zoo" / "zoo.json").read_text())
    assert (row["epochs"], row["input_px"], row["accuracy_images"]) == (30, 32, 10)
    assert row["accuracy"] == 1
    page = (tmp_path / "zoo" / "architectures.md").read_text()
    assert "| network | px | epochs | trained in | test | another seed |" in page
    assert "| `lenet5` | 32 | 30 |" in page
    again = subprocess.run(
        [*command, "--folder", str(tmp_path / "zoo")], check=True, capture_output=True, text=True
    )
    assert "is there already" in again.stdout
