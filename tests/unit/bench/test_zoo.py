import json
from pathlib import Path
from typing import Any

import pytest

from bench.intervals import wilson
from bench.zoo.report import MARKS, write

ROW: dict[str, Any] = {
    "name": "resnet20",
    "input_px": 32,
    "epochs": 30,
    "seconds": 1234,
    "accuracy": 0.98,
    "accuracy_interval": [0.97, 0.987],
    "accuracy_hard": 0.9,
    "accuracy_hard_interval": [0.88, 0.917],
    "parameters": 269_722,
    "macs": 40_551_040,
    "throughput_batch_1": 321.4,
    "throughput_best": 1200.0,
    "memory_bytes": 5_000_000,
}


@pytest.mark.parametrize(
    ("correct", "count", "expected"),
    # From the table in Newcombe, Statistics in Medicine 17, 1998.
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611))],
)
def test_interval(correct: int, count: int, expected: tuple[float, float]) -> None:
    """
    The interval is Wilson's, which is right near 0 and 1, too.
    """
    assert wilson(correct, count) == pytest.approx(expected, abs=1e-4)


def test_report(tmp_path: Path) -> None:
    """
    The page keeps what is around the table; writing again replaces it.
    """
    page, numbers = tmp_path / "page.md", tmp_path / "zoo.json"
    page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    for _ in range(2):
        write([ROW], numbers, page)
    assert json.loads(numbers.read_text()) == [ROW]
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.count("`resnet20`") == 1
    assert "0.900 (0.880-0.917)" in text
    assert "1,234 s" in text
