"""Measure the rows in turn, and print them as Markdown: `python -m bench.bulk [ROW ...]`.

The contenders of a row run in turn, so that other work on the machine affects all of them. A ratio
is the median over the rounds, with a bootstrap interval. An engine that is not installed is left
out, and reported. All rows take some 25 minutes on two processors.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from bench.bulk.bulk_rows import ROWS, Contender, Row
from bench.bulk.contender_commands import Taken, is_installed, measure
from bench.race.networks import write_networks
from convoy.commands.measurement.intervals import of_median

HEAD = (
    "| what | contender | images/s | processor seconds | MiB of one process | ratio of images/s "
    "(95 % interval) | ratio of processor seconds | bound |\n"
    "|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Measure the chosen rows, and print each as soon as it is done."""
    parser = argparse.ArgumentParser(prog="python -m bench.bulk", description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument(
        "rows",
        nargs="*",
        choices=[*names, []],
        metavar="ROW",
        help="Measure these rows; all by default.",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="Run this many rounds; memory and int8 have one."
    )
    parser.add_argument(
        "--images", type=int, help="Classify this many JPEGs with ResNet-18; 1,000 by default."
    )
    parser.add_argument("--root", type=Path, default=Path("build/bulk/model_repository"))
    arguments = parser.parse_args()
    rows = [row for row in ROWS if row.name in (arguments.rows or names)]
    if arguments.images:
        rows = [row.with_images(arguments.images) for row in rows]
    # An int8 network is made of the one in float32.
    networks = {name for row in rows for name in (row.model, row.model.removesuffix("_int8"))}
    write_networks(arguments.root, Console(emoji=False, stderr=True), sorted(networks))
    print(HEAD, flush=True)
    for row in rows:
        for line in _measured(row, arguments.rounds, arguments.root.absolute()):
            print(line, flush=True)


def _measured(row: Row, rounds: int, root: Path) -> Iterator[str]:
    contenders = [one for one in row.contenders if is_installed(one)]
    for one in row.contenders:
        if one not in contenders:
            print(f"{row.name}: {one.name} is not installed", file=sys.stderr)
    is_compared = bool(row.bounds)
    taken: dict[Contender, list[Taken]] = {one: [] for one in contenders}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds if is_compared else 1):
            for one in contenders:
                taken[one].append(measure(one, root, row.model, Path(folder)))
    for one in contenders:
        yield _line(row, one, taken[one], taken[contenders[0]])


def _line(row: Row, one: Contender, found: Sequence[Taken], first: Sequence[Taken]) -> str:
    speed = one.images / np.median([t.seconds for t in found])
    cells = [
        f"{row.title}" if found is first else "",
        f"{one.name}, {one.images:,} images",
        f"{speed:,.1f}",
        f"{np.median([t.cpu_s for t in found]):.1f}",
        f"{max(t.peak_mb for t in found):.0f}",
    ]
    if found is first:
        cells += ["", "", ""]
    elif row.memory_bound:
        ratio = max(t.peak_mb for t in found) / max(t.peak_mb for t in first)
        cells += ["", "", f"memory {ratio:.2f} of at most {row.memory_bound:g}"]
    else:
        times = [a.seconds / b.seconds for a, b in zip(first, found, strict=True)]
        work = [a.cpu_s / b.cpu_s for a, b in zip(first, found, strict=True)]
        low, high = of_median(times)
        bound = row.bounds.get(one.name)
        cells += [
            f"{np.median(times):.3f} ({low:.3f} to {high:.3f})",
            f"{np.median(work):.3f}",
            f"at least {bound:g}" if bound else "",
        ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
