"""The results of the races: a JSON file, and a table in the page."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.race.pairs import Side, ratio
from bench.race.race_rows import Row

MARKS = "<!-- race -->", "<!-- end of race -->"
"""The marks around the table in the page."""

Found = dict[str, Any]
"""The results of one race, by their names in the JSON file."""


def found(row: Row, sides: list[Side]) -> Found:
    """Return the results of one race."""
    middle, low, high = ratio(sides, row.figure)
    return {
        "network": row.network,
        "load": row.load.name,
        "figure": row.figure.__name__,
        "pairs": len(sides[0].measured),
        "ratio": round(middle, 3),
        "interval_95": [round(low, 3), round(high, 3)],
        "bound": row.bound,
        # A bound is missed only if the whole interval lies beyond it.
        "met": row.bound is None or (low <= row.bound if row.at_most else high >= row.bound),
        "sides": [_side(side) for side in sides],
    }


def add(name: str, race: Found, path: Path) -> None:
    """Keep the results of *race* in the file at *path*, in place of its earlier ones."""
    races = json.loads(path.read_text()) if path.exists() else {}
    races[name] = race
    path.write_text(json.dumps(races, indent=2) + "\n")


def write(path: Path, page: Path) -> None:
    """Write a table of the file at *path* between the marks of *page*."""
    begin, end = MARKS
    table = "\n".join([begin, "", *_table(json.loads(path.read_text())), "", end])
    text = re.sub(f"{begin}.*{end}", lambda _: table, page.read_text(), flags=re.DOTALL)
    page.write_text(text)


def _side(side: Side) -> Found:
    rates = [one.per_s for one in side.measured]
    return {
        "server": side.name,
        "per_s": round(statistics.median(rates), 1),
        "per_s_spread": [round(min(rates), 1), round(max(rates), 1)],
        "p50_ms": round(side.median(lambda one: one.p50_ms), 3),
        "p99_ms": round(side.median(lambda one: one.p99_ms), 3),
        "cpu_ms": round(statistics.median(side.cpu_ms), 4),
        "memory_mb": round(side.memory_mb, 1),
    }


def _table(races: Mapping[str, Found]) -> list[str]:
    columns = [
        "network",
        "in flight",
        "server",
        "requests/s",
        "p50",
        "p99",
        "CPU",
        "memory",
        "ratio",
    ]
    lines = [columns, ["---"] * len(columns)]
    for race in races.values():
        first, second = race["sides"]
        low, high = race["interval_95"]
        cell = f"{race['ratio']:.2f} ({low:.2f}-{high:.2f}) of {_FIGURES[race['figure']]}"
        lines.append([f"`{race['network']}`", race["load"], *_cells(first), cell])
        lines.append(["", "", *_cells(second), _verdict(race)])
    return [f"| {' | '.join(line)} |" for line in lines]


_FIGURES = {"per_s": "requests/s", "p50_ms": "p50", "p99_ms": "p99"}


def _verdict(race: Found) -> str:
    if race["bound"] is None:
        return ""
    return f"bound {race['bound']:g}{'' if race['met'] else ', missed'}"


def _cells(side: Found) -> list[str]:
    low, high = side["per_s_spread"]
    return [
        side["server"],
        f"{side['per_s']:,.0f} ({low:,.0f}-{high:,.0f})",
        f"{side['p50_ms']:.2f} ms",
        f"{side['p99_ms']:.2f} ms",
        f"{side['cpu_ms']:.2f} ms",
        f"{side['memory_mb']:,.0f} MB",
    ]
