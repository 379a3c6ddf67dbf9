"""Comparison of ways to use the cores of a CPU: `python -m bench.race.designs`; prints JSON.

For each network: images per second with several callers, and the latency of a single one. All
designs are open at once and take turns.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from rich.console import Console

from bench.race.networks import LARGE, write_networks
from bench.race.onnxruntime_loop import BATCHES, DESIGNS, Loop

ROUNDS = 3
SECONDS = 1.0
ROOT = Path("build/race/models")


def main() -> None:
    """Measure and print."""
    console = Console(emoji=False, stderr=True)
    write_networks(ROOT, console)
    found = {}
    for name in ("lenet5", *LARGE):
        console.print(name)
        found[name] = _measure(str(ROOT / name / "1" / "model.onnx"))
    print(json.dumps(found, indent=2))


def _measure(model: str) -> dict[str, dict[str, float]]:
    loops = {design.name: Loop(model, design) for design in DESIGNS}
    seen: dict[str, dict[str, list[float]]] = {
        name: {what: [] for what in ("latency_ms", *(f"batch_{b}" for b in BATCHES))}
        for name in loops
    }
    # Round by round, not design by design: a disturbance meets all of them.
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            seen[name]["latency_ms"].append(loop.measure(1, SECONDS, runs=1).p50_ms)
            for batch in BATCHES:
                seen[name][f"batch_{batch}"].append(loop.measure(batch, SECONDS).per_s)
    return {
        name: {what: round(statistics.median(values), 2) for what, values in rows.items()}
        for name, rows in seen.items()
    }


if __name__ == "__main__":
    main()
