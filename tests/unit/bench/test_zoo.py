import json
from pathlib import Path
from typing import Any

import pytest

from bench.zoo.__main__ import NAMES
from bench.zoo.zoo_table import MARKS, add, write, written
from convoy.artifact.estimates import wilson

DOCS = Path(__file__).parents[3] / "docs/explanation"

ROW: dict[str, Any] = {
    "name": "resnet20",
    "input_px": 32,
    "epochs": 30,
    "seconds": 1234,
    "trained_on": "cpu",
    "seed": 0,
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
    The page keeps what is around the table; writing again replaces it. A second seed stands beside
    the first, and neither takes the place of other networks.
    """
    page, numbers = tmp_path / "page.md", tmp_path / "zoo.json"
    page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    second = ROW | {"seed": 1, "accuracy": 0.975, "accuracy_hard": 0.91}
    other = ROW | {"name": "plain20", "trained_on": "a GPU", "throughput_best": None}
    for rows in ([ROW | {"epochs": 1}], [second], [ROW, other]):
        add(rows, numbers)
        write(numbers, page)
    assert json.loads(numbers.read_text()) == [ROW, other, second]
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.count("`resnet20`") == text.count("`plain20`") == 1
    assert "0.900 (0.880-0.917)" in text
    assert "0.910, 0.975" in text
    assert "1,234 s |" in text
    assert "1,234 s, a GPU |" in text


def test_order(tmp_path: Path) -> None:
    """
    A later training, whatever its seed, leaves the networks of the table in their order.
    """
    numbers = tmp_path / "zoo.json"
    first = [ROW, ROW | {"name": "plain20"}]
    later = [ROW | {"name": "plain20", "seed": 1}]
    add(first, numbers)
    add(later, numbers)
    assert json.loads(numbers.read_text()) == [*first, *later]


def test_documented() -> None:
    """
    The table of the page is that of the file; each network of the brief is there and learnt, and
    another seed gives the same within 1.5 points on plain digits.
    """
    rows = json.loads((DOCS / "zoo.json").read_text())
    page = (DOCS / "architectures.md").read_text()
    assert written(rows, page) == page
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["name"], []).append(row["accuracy"])
    for name in NAMES:
        assert min(found[name]) >= 0.95, name
        assert max(found[name]) - min(found[name]) <= 0.015, name
