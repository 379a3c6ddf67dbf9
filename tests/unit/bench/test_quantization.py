import json
import sys
from pathlib import Path

import pytest

from bench import quantization
from tests.harness import colours

PAGE = "before\n<!-- quantization -->\nold\n<!-- end of quantization -->\nafter\n"


def test_command_writes_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Each float32 network is converted and measured; JSON and table hold both versions.
    """
    colours.imported(tmp_path / "models", colours.classifier())
    photos = colours.write_images(tmp_path / "photos", 20)
    (tmp_path / "benchmarks.md").write_text(PAGE)
    options = {
        "--model-repository": tmp_path / "models",
        "--data": f"folder:{photos}",
        "--docs": tmp_path,
        "--seconds": 0.1,
    }
    arguments = [str(part) for option in options.items() for part in option]
    monkeypatch.setattr(sys, "argv", ["quantization", *arguments])
    assert quantization.main() == 0
    (row,) = json.loads((tmp_path / "quantization.json").read_text())["networks"]
    assert (row["name"], row["input_px"], row["images"]) == ("colours", 16, 12)
    assert row["accuracy"] == [1, 1]
    assert row["float32_layers"] == []
    before, after = row["images_per_s"]
    (line,) = [x for x in (tmp_path / "benchmarks.md").read_text().splitlines() if "colours" in x]
    assert line.startswith("| `colours` | 16 | 1.000, 1.000 | 100.0 % |  | ")
    assert f"| {before:,.1f}, {after:,.1f} | {after / before:.2f} |" in line


def test_network_that_is_refused(tmp_path: Path) -> None:
    """
    The table names it, and the reason is in the JSON.
    """
    model = colours.classifier(outlier=1000, branches="cd")
    artifact = colours.imported(tmp_path / "models", model)
    photos = colours.write_images(tmp_path / "photos", 20)
    row = quantization.measure(artifact, f"folder:{photos}", 0.1)
    assert "still loses" in row["refused"]
    text = quantization.written([row], PAGE)
    assert text.startswith("before\n<!-- quantization -->\n\n| network |")
    assert "\n| `colours` | 16 | refused |" in text
    assert "old" not in text
    assert text.endswith("<!-- end of quantization -->\nafter\n")


def test_page_has_the_marks() -> None:
    """
    The command finds the place of its table.
    """
    page = Path("docs/explanation/benchmarks.md").read_text()
    begin, end = quantization.MARKS
    assert page.index(begin) < page.index(end)


def test_zoo_that_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The message says how to train it.
    """
    monkeypatch.setattr(sys, "argv", ["quantization", "--model-repository", str(tmp_path)])
    assert quantization.main() == 1
    assert capsys.readouterr().err.endswith("make zoo trains the networks\n")
