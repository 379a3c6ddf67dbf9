"""convoy against the other servers of its kind, on this machine: `python -m bench.race`.

Installs each server in an environment of its own below build/race, gives all of them the same ONNX
file, the same image and as many threads, and lets h2load (Debian's nghttp2-client) ask them in
turn. Each ratio is the median over pairs, with a bootstrap interval. Results are added to a JSON
file row by row, so that an interrupted race keeps what is done.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from rich.console import Console

from bench.race import report
from bench.race.model import Model
from bench.race.networks import write_networks
from bench.race.pairs import race, running
from bench.race.rows import ROWS, Row
from service.resources import usable_cpus

ROOT = Path("build/race")


def main() -> int:
    """Race what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.race", description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument("rows", nargs="*", choices=[*names, []], metavar="ROW", help="all if none")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each is asked")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where results go")
    chosen = parser.parse_args()
    console = Console(stderr=True)
    if not shutil.which("h2load"):
        console.print("h2load is not installed: apt install nghttp2-client")
        return 1
    write_networks(ROOT / "models", console)
    try:
        for row in ROWS:
            if row.name in (chosen.rows or names):
                found = _run(row, chosen.pairs, chosen.seconds, console)
                report.add(row.name, found, chosen.docs / "race.json")
    except KeyboardInterrupt:
        console.print("interrupted; what is done is kept")
        return 130
    report.write(chosen.docs / "race.json", chosen.docs / "benchmarks.md")
    return 0


def _run(row: Row, pairs: int, seconds: float, console: Console) -> report.Found:
    model = Model.read(ROOT / "models", row.network, threads=usable_cpus())
    environments = ROOT / "environments"
    with (
        running(row.first, model, environments, console) as first,
        running(row.second, model, environments, console) as second,
    ):
        sides = race([first, second], row.load, pairs=pairs, seconds=seconds, console=console)
    found = report.found(row, sides)
    low, high = found["interval_95"]
    console.print(f"{row.name}: {found['ratio']:.2f} ({low:.2f}-{high:.2f}), bound {row.bound}")
    return found


if __name__ == "__main__":
    sys.exit(main())
