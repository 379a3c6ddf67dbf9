"""Throughput under other loads than those of the races: `python -m bench.race.curves`.

For a small and a large network: images per second against requests in flight, and against images in
a request. The servers take turns; medians of three. Writes docs/explanation/race_curves.json, which
`python -m tools.figures` draws.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from bench.race.contender import Contender
from bench.race.convoy_servers import Convoy, ConvoyNative
from bench.race.loads import Load
from bench.race.networks import write_networks
from bench.race.pairs import running
from bench.race.peer_servers import Triton
from bench.race.raced_model import Model
from convoy.commands.measurement.progress import progress_bar
from convoy.figures import style
from convoy.figures.families import SERIES
from convoy.figures.labels import Mark, label_ends
from convoy.service.machine.resources import usable_cpus

ROOT = Path("build/race")
DOCS = Path("docs/explanation")
CONTENDERS = (ConvoyNative, Convoy, Triton)
CONNECTIONS = 4
IN_FLIGHT = {"lenet5": (1, 4, 16, 64, 256), "resnet18": (1, 4, 16, 64)}
IMAGES = {"lenet5": (1, 2, 4, 8, 16, 32), "resnet18": (1, 2, 4, 8)}
"""Images in a request, with 16 requests in flight for LeNet-5 and 4 for ResNet-18."""

ROUNDS = 3
SECONDS = 1.5

Curves = dict[str, dict[str, dict[str, Any]]]
"""Median and spread of images per second, by contender and by the varied count."""


def main() -> int:
    """Measure and write."""
    console = Console(emoji=False, stderr=True)
    write_networks(ROOT / "models", console)
    found = {name: _measure(name, console) for name in IN_FLIGHT}
    (DOCS / "race_curves.json").write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _measure(network: str, console: Console) -> dict[str, Curves]:
    model = Model.read(ROOT / "models", network, threads=usable_cpus())
    with ExitStack() as stack:
        environments = ROOT / "environments"
        contenders = [
            stack.enter_context(running(kind, model, environments, console)) for kind in CONTENDERS
        ]
        return {
            "in_flight": _curves(contenders, network, "in flight", _loads(network), console),
            "images": _curves(contenders, network, "images", _requests(network), console),
        }


def _loads(network: str) -> Iterator[tuple[int, int, Load]]:
    for count in IN_FLIGHT[network]:
        # Up to 4 requests in flight have a connection each; more of them share connections.
        connections = min(CONNECTIONS, count)
        yield count, 1, Load(connections, count // connections)


def _requests(network: str) -> Iterator[tuple[int, int, Load]]:
    # Enough in flight to fill the device; more would only wait, for seconds with a large network.
    streams = 4 if network == "lenet5" else 1
    for images in IMAGES[network]:
        yield images, images, Load(CONNECTIONS, streams)


def _curves(
    contenders: list[Contender],
    network: str,
    varied: str,
    points: Iterator[tuple[int, int, Load]],
    console: Console,
) -> Curves:
    """Measure at each of *points*: the varied count, images in a request, and the load."""
    turns = [(point, turn) for point in points for turn in range(ROUNDS)]
    rates: dict[str, dict[str, list[float]]] = {one.name: {} for one in contenders}
    with progress_bar(console) as progress:
        for done, ((value, images, load), _) in enumerate(turns):
            progress(f"{network}, {value} {varied}", done, len(turns))
            # The servers take turns at each point, so that a disturbance meets all of them.
            for contender in contenders:
                contender.model = dataclasses.replace(contender.model, images=images)
                per_s = images * contender.measure(load, SECONDS).per_s
                rates[contender.name].setdefault(str(value), []).append(per_s)
    return {
        name: {
            value: {
                "median": round(statistics.median(seen), 1),
                "spread": [round(min(seen), 1), round(max(seen), 1)],
            }
            for value, seen in curve.items()
        }
        for name, curve in rates.items()
    }


def figure(path: Path) -> Figure:
    """Draw the curves in the file at *path*, a row of two for each network."""
    found: dict[str, dict[str, Curves]] = json.loads(path.read_text())
    varied = {"in_flight": "requests in flight", "images": "images in a request"}
    made, panels, _ = style.frame(
        "Images per second of convoy and Triton",
        [
            f"Medians of {ROUNDS} turns (bench.race.curves). Bars: lowest and highest turn, where "
            "they were kept."
        ],
        [f"{network}: {what}" for network in found for what in varied.values()],
        panel_in=3.4,
    )
    drawn = [(curves[key], what) for curves in found.values() for key, what in varied.items()]
    ends = [_draw(axes, *one) for axes, one in zip(panels, drawn, strict=True)]
    for axes, marks in zip(panels, ends, strict=True):
        label_ends(axes, marks, SERIES[: len(marks)])
    return made


def _draw(axes: Axes, curves: Curves, label: str) -> list[Mark]:
    """Draw a line for each server; return their ends."""
    ends = []
    for (name, curve), color in zip(curves.items(), SERIES, strict=False):
        counts, medians = list(map(int, curve)), [one["median"] for one in curve.values()]
        axes.plot(counts, medians, "o-", color=color, ms=4)
        for count, one in zip(counts, curve.values(), strict=True):
            if one["spread"]:
                axes.plot([count, count], one["spread"], lw=3, color=(color, 0.35))
        ends.append(Mark(name, counts[-1], medians[-1]))
    axes.set(xlabel=label, ylabel="images per second", ylim=(0, None))
    axes.yaxis.set_major_formatter("{x:,g}")
    style.set_sizes(axes, list(map(int, next(iter(curves.values())))))
    return ends


if __name__ == "__main__":
    sys.exit(main())
