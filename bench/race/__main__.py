"""Races of convoy against other servers on this machine: `python -m bench.race`.

Installs each server in an environment of its own below build/race, gives all of them the same ONNX
file, the same image and as many threads, and loads them in turn with h2load (Debian's
nghttp2-client). Each ratio is the median over pairs, with a bootstrap interval. Results are added
to a JSON file row by row, so that an interrupted race keeps what is done; a row that cannot be run
is reported, and the others go on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.race import race_table
from bench.race.networks import write_networks
from bench.race.pairs import race, running
from bench.race.race_rows import ROWS, Row
from bench.race.raced_model import Model
from convoy.service.machine.resources import usable_cpus

ROOT = Path("build/race")


def main() -> int:
    """Run the chosen rows and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.race", description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument("rows", nargs="*", choices=[*names, []], metavar="ROW", help="default: all")
    parser.add_argument("--pairs", type=int, help="pairs of each row, in place of its own")
    parser.add_argument(
        "--seconds", type=float, help="seconds of each measurement, in place of the row's"
    )
    parser.add_argument(
        "--docs", type=Path, default=Path("docs/explanation"), help="folder of the results"
    )
    chosen = parser.parse_args()
    console = Console(emoji=False, stderr=True)
    if not shutil.which("h2load"):
        console.print("h2load is not installed: apt install nghttp2-client")
        return 1
    rows = [row for row in ROWS if row.name in (chosen.rows or names)]
    try:
        failed = _race(rows, chosen, console)
    except KeyboardInterrupt:
        console.print("interrupted; finished rows are kept")
        return 130
    race_table.write(chosen.docs / "race.json", chosen.docs / "benchmarks.md")
    return int(failed)


def _race(rows: Sequence[Row], chosen: argparse.Namespace, console: Console) -> bool:
    """Run *rows* one after the other and return whether one of them failed."""
    write_networks(ROOT / "models", console)
    failed = False
    for row in rows:
        try:
            found = _run(row, chosen.pairs or row.pairs, chosen.seconds or row.seconds, console)
        except RuntimeError as error:  # one server that does not start costs only its rows
            console.print(f"{row.name}: {error}")
            failed = True
        else:
            race_table.add(row.name, found, chosen.docs / "race.json")
    return failed


def _run(row: Row, pairs: int, seconds: float, console: Console) -> race_table.Found:
    model = Model.read(ROOT / "models", row.network, threads=usable_cpus())
    environments = ROOT / "environments"
    with (
        running(row.first, model, environments, console) as first,
        running(row.second, model, environments, console) as second,
    ):
        sides = race([first, second], row.load, pairs=pairs, seconds=seconds, console=console)
    found = race_table.found(row, sides)
    low, high = found["interval_95"]
    console.print(f"{row.name}: {found['ratio']:.2f} ({low:.2f}-{high:.2f}), bound {row.bound}")
    return found


if __name__ == "__main__":
    sys.exit(main())
