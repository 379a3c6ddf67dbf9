import json
from pathlib import Path

import numpy as np
import pytest

from bench.race import race_table
from bench.race.curves import figure
from bench.race.loads import Measured
from bench.race.pairs import Side, ratio
from bench.race.race_rows import ROWS, per_s
from convoy.commands.measurement.intervals import of_median
from tests.harness import drawn


def sides(first: list[float], second: list[float]) -> list[Side]:
    return [
        Side(name, [Measured(rate, 1.5, 3.0) for rate in rates], [0.25] * len(rates), 80.0)
        for name, rates in (("ours", first), ("theirs", second))
    ]


def test_ratio_is_of_pairs() -> None:
    """
    The ratio is the median of those of the pairs, so that a slow hour counts for both sides.
    """
    found = ratio(sides([200, 20, 210], [100, 10, 100]), per_s)
    assert found == pytest.approx((2.0, 2.0, 2.1))


def test_interval_of_a_median() -> None:
    """
    The interval holds the median, is no wider than the values, and is the same each time.
    """
    values = [float(value) for value in range(1, 42)]
    low, high = of_median(values)
    assert 10 < low < 21 < high < 32
    assert of_median(values) == (low, high)


def test_table(tmp_path: Path) -> None:
    """
    Rows are kept by name; the table in the page is replaced and shows missed bounds.
    """
    results, page = tmp_path / "race.json", tmp_path / "page.md"
    page.write_text("before\n<!-- race -->\nold\n<!-- end of race -->\nafter\n")
    row = ROWS[0]
    race_table.add(row.name, race_table.found(row, sides([100.0], [100.0])), results)
    race_table.add(row.name, race_table.found(row, sides([200.0], [100.0])), results)
    race_table.write(results, page)
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines
    assert "| ours | 200 (200-200) | 1.50 ms | 3.00 ms | 0.25 ms | 80 MB | 2.00 (2.00-2.00)" in (
        next(line for line in lines if "ours" in line)
    )
    assert "bound 2.5, missed" in page.read_text()


def test_names_are_unique() -> None:
    """
    Each race has a name of its own: results are kept by it.
    """
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_curves(tmp_path: Path) -> None:
    """
    The curves are drawn, a row of two for each network, with the spread of the turns.
    """
    curve = {n: {"median": 100.0, "spread": [80.0, 130.0]} for n in ("1", "4")}
    curves = {"ours": curve, "ours too": curve, "theirs": curve}
    found = {name: {"in_flight": curves, "images": curves} for name in ("small", "large")}
    (tmp_path / "curves.json").write_text(json.dumps(found))
    made = figure(tmp_path / "curves.json")
    assert len(made.axes) == 4
    assert [80.0, 130.0] in [np.asarray(line.get_ydata()).tolist() for line in made.axes[0].lines]
    assert drawn.faults(made) == []
