"""The table and the figure of front processes."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.front_figure import figure
from bench.front_rows import table
from tests.harness import drawn


def side(kind: str, per_s: float, engine_us: float, fronts_us: float = 0.0) -> dict[str, Any]:
    return {
        "kind": kind,
        "per_s": per_s,
        "p50_ms": 1.5,
        "p99_ms": 3.0,
        "engine_us": engine_us,
        "fronts_us": fronts_us,
        "load_us": 100.0,
        "batch": 1.25,
    }


def row(request: str, connections: int, in_flight: int, ratio: float, kind: str) -> dict[str, Any]:
    native = ", native" if "native" in kind else ""
    first = "fronts" if "TLS" in kind else f"one process{native}"
    return {
        "request": request,
        "connections": connections,
        "in_flight": in_flight,
        "ratio": ratio,
        "ratio_95": [ratio - 0.1, ratio + 0.1],
        "first": side(first, 2000.0, 500.0),
        "second": side(kind, 2000.0 * ratio, 100.0, 440.0),
    }


def measured() -> dict[str, Any]:
    engine = {"least_us": 16.0, "median_us": 17.0}
    return {
        "cores": 2,
        "fronts": 2,
        "pairs": 5,
        "date": "2026-11-30",
        "engine": {
            "lenet5, tensor, 64 in flight": engine,
            "sleeping, tensor, 64 in flight": engine,
            "sleeping, reserved, 64 in flight": engine,
        },
        "rows": [
            row("tensor", 16, 64, 1.24, "fronts"),
            row("tensor", 1, 1, 0.95, "fronts"),
            row("tensor", 1, 64, 0.97, "fronts"),
            row("tensor", 4, 64, 1.0, "fronts"),
            row("tensor", 64, 64, 1.5, "fronts"),
            row("jpeg", 16, 64, 1.02, "fronts, native"),
            row("tensor", 16, 64, 0.79, "fronts, TLS"),
        ],
    }


def test_table() -> None:
    """
    Each line has its bound, and says whether it is met.
    """
    _, _, *lines = table(measured()).splitlines()
    found = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:] for line in lines}
    request = "engine, processor time per request beyond the model's run: "
    assert found[f"{request}LeNet-5"] == ["15 us", "16 us", "no |"]
    assert found[f"{request}JPEG"] == ["25 us", "16 us", "yes |"]
    tensor = "tensor of 150 kB, fronts"
    # 540 us are 1.08 times 500.
    assert found[f"processor time: {tensor}, 16 x 4"] == [
        "1.1",
        "1.08 (500 us; engine + fronts 100 + 440 us; 1.2; 1.2 images in a batch)",
        "yes |",
    ]
    # Two cores, of which a request takes 640 us with the load.
    rate = f"images/s: {tensor}, 16 x 4, ceiling 1.56"
    assert found[rate] == ["1.05", "1.24 (1.14-1.34); 2,480/s", "yes |"]
    assert found[f"calculated for 16 cores: {tensor}, 16 x 4"][1] == (
        "10,000/s, limited by the engine"
    )
    assert found[f"added p50: {tensor}, 1 x 1"] == ["0.25 ms", "0.00 ms", "yes |"]
    assert found[f"images/s: {tensor}, 1 x 64"][-1] == "no |"
    assert found[f"images/s: {tensor}, 4 x 16"][-1] == "yes |"
    assert found["TLS over fronts against plain"] == ["0.8", "0.79 (0.69-0.89); 1,580/s", "no |"]


def test_figure(tmp_path: Path) -> None:
    """
    The figure is readable, with a line for one process and one for the fronts.
    """
    path = tmp_path / "fronts.json"
    path.write_text(json.dumps(measured()))
    made = figure(path)
    assert drawn.faults(made) == []
    (axes,) = made.axes
    one, fronts = (np.asarray(line.get_ydata()).tolist() for line in axes.lines)
    assert one == [2000.0] * 4
    assert fronts == [1940.0, 2000.0, 2480.0, 3000.0]
