"""The figure of throughput against connections, with front processes and without."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

from convoy.figures import style
from convoy.figures.families import SERIES
from convoy.figures.labels import Mark, label_ends

IN_FLIGHT = 64


def figure(path: Path) -> Figure:
    """Draw what `python -m bench.fronts --json` wrote to *path*."""
    found = json.loads(path.read_text())
    rows = sorted(
        (
            row
            for row in found["rows"]
            if (row["request"], row["in_flight"], row["first"]["kind"])
            == ("tensor", IN_FLIGHT, "one process")
        ),
        key=lambda row: row["connections"],
    )
    made, (axes,), _ = style.frame(
        "Images per second against connections",
        [
            f"Tensors of 150 kB over grpcio, {IN_FLIGHT} in flight, a device that sleeps. Medians "
            f"of {found['pairs']} turns on {found['cores']} cores, {found['date']} (bench.fronts)."
        ],
        ["One process and fronts"],
        panel_in=3.4,
    )
    connections = [row["connections"] for row in rows]
    ends = []
    names = ("one process", f"{found['fronts']} fronts")
    for side, name, color in zip(("first", "second"), names, SERIES, strict=False):
        rates = [row[side]["per_s"] for row in rows]
        axes.plot(connections, rates, "o-", color=color, ms=4)
        ends.append(Mark(name, connections[-1], rates[-1]))
    axes.set(xlabel="connections", ylabel="images per second", ylim=(0, None))
    axes.yaxis.set_major_formatter("{x:,g}")
    style.set_sizes(axes, connections)
    label_ends(axes, ends, SERIES[: len(ends)])
    return made
