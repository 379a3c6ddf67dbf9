"""Pictures of the dashboards with real data: `python -m tools.dashboard_figures`.

Runs a server under load for a while, sends Prometheus the queries that Grafana would send, and
draws each dashboard into docs/images/operations. Needs Debian's package prometheus.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.progress import track

from tests.harness.server_process import ServerProcess
from tools.grafana.board import Board, Panel, Query
from tools.grafana.boards import BOARDS
from tools.grafana.expressions import chosen
from tools.observation import Load, Prometheus

DOCS = Path("docs/images/operations")
STEP_S = 2
RATE_S = 60
"""Rates are those of a minute: the time before the first whole one is not drawn."""

THREADS = 24
PAUSE_S = 0.005

COLUMNS = 2
MAX_LEGEND = 8
MODEL = "lenet5"

Series = dict[str, Any]


def main() -> int:
    """Run, query and draw."""
    parser = argparse.ArgumentParser(prog="python -m tools.dashboard_figures", description=__doc__)
    parser.add_argument(
        "--model-repository", type=Path, default=Path("tests/data/model_repository")
    )
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--docs", type=Path, default=DOCS)
    arguments = parser.parse_args()
    mpl.use("Agg")
    arguments.docs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="convoy-")))
        server = stack.enter_context(ServerProcess(arguments.model_repository))
        target = f"127.0.0.1:{server.find('ready')[0]['http_port']}"
        prometheus = stack.enter_context(Prometheus(target, folder))
        stack.enter_context(Load(server.address, threads=THREADS, pause_s=PAUSE_S))
        for _ in track(range(int(arguments.seconds + RATE_S)), "watching"):
            time.sleep(1)
        for board in BOARDS:
            path = arguments.docs / f"{board.uid}.png"
            _draw(board, prometheus, arguments.seconds).savefig(path, dpi=110)
            print(path)
    return 0


def _draw(board: Board, prometheus: Prometheus, seconds: float) -> Figure:
    panels = [panel for row in board.rows.values() for panel in row]
    numbers = [panel for panel in panels if panel.kind in ("number", "table")]
    others = [panel for panel in panels if panel not in numbers]
    rows = math.ceil(len(others) / COLUMNS)
    figure = Figure(figsize=(14, 2.9 * rows + 1.6), layout="constrained")
    figure.suptitle(board.title)
    spaces = figure.add_gridspec(2, 1, height_ratios=[0.3, rows])
    top, grid = figure.add_subfigure(spaces[0]), figure.add_subfigure(spaces[1])
    for axes, panel in zip(
        np.atleast_1d(top.subplots(1, max(1, len(numbers)))), numbers, strict=False
    ):
        _draw_number(axes, panel, prometheus)
    if not numbers:
        top.axes[0].axis("off")
    places = grid.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, panel in zip(places, others, strict=False):
        _draw_panel(axes, panel, prometheus, seconds)
    for axes in places[len(others) :]:
        axes.axis("off")
    return figure


def _draw_number(axes: Axes, panel: Panel, prometheus: Prometheus) -> None:
    axes.axis("off")
    results = prometheus.query(_expression(panel.queries[0]))
    if panel.kind == "table":
        labels = ("version", "architecture", "precision", "provider")
        text = "\n".join(", ".join(one["metric"][label] for label in labels) for one in results)
    else:
        text = _with_unit(float(results[0]["value"][1]), panel.unit)
    axes.text(0.5, 0.35, text, ha="center", fontsize=12 if panel.kind == "table" else 20)
    axes.set_title(panel.title, fontsize=10)


def _draw_panel(axes: Axes, panel: Panel, prometheus: Prometheus, seconds: float) -> None:
    axes.set_title(panel.title, fontsize=10)
    series = [one for query in panel.queries for one in _ask(query, prometheus, seconds)]
    # Without its device a panel says what it needs, as it would be empty in Grafana.
    if not series:
        axes.text(0.5, 0.5, "no data: needs " + panel.queries[0].needs, ha="center", color="grey")
        axes.set_axis_off()
        return
    if panel.kind == "heatmap":
        _draw_heatmap(axes, series)
    elif panel.kind == "stacked":
        times = sorted({at for one in series for at in one["at"]})
        values = [np.interp(times, one["at"], one["values"], 0, 0) for one in series]
        axes.stackplot(times, values, labels=[one["legend"] for one in series], alpha=0.7)
    else:
        for one in series:
            axes.plot(one["at"], one["values"], label=one["legend"], linewidth=1.2)
        axes.set_ylim(0, 1.1 * max(max(one["values"]) for one in series) or 1)
    if panel.kind != "heatmap" and len(series) <= MAX_LEGEND:
        axes.legend(fontsize=7, loc="upper left")
    axes.set_ylabel(panel.unit, fontsize=8)
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(labelsize=7)


def _draw_heatmap(axes: Axes, series: list[Series]) -> None:
    """Draw the counts of each bucket, from cumulative ones."""
    ordered = sorted(series, key=lambda one: float(one["legend"].replace("+Inf", "inf")))
    times = ordered[-1]["at"]
    counts = np.array([np.interp(times, one["at"], one["values"], 0, 0) for one in ordered])
    cells = np.diff(counts, axis=0, prepend=0)
    axes.pcolormesh(times, np.arange(len(ordered)), cells, cmap="Blues", shading="nearest")
    axes.set_yticks(np.arange(len(ordered))[::2], [one["legend"] for one in ordered][::2])


def _ask(query: Query, prometheus: Prometheus, seconds: float) -> list[Series]:
    """Return the series of a query over the last *seconds*, with the names of their legend."""
    now = float(prometheus.get("query", query="time()")["result"][0])
    found = prometheus.get(
        "query_range",
        query=_expression(query),
        start=str(now - seconds),
        end=str(now),
        step=str(STEP_S),
    )["result"]
    return [
        {
            "legend": _legend(query.legend, one["metric"]),
            "at": [at - now + seconds for at, _ in one["values"]],
            "values": [float(value) for _, value in one["values"]],
        }
        for one in found
    ]


def _legend(template: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], ""), template)


def _expression(query: Query) -> str:
    return chosen(query.expr, model=MODEL)


def _with_unit(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{100 * value:.2f} %"
    if unit == "s":
        return f"{1000 * value:.1f} ms"
    return f"{value:.0f}" + ("/s" if unit == "reqps" else "")


if __name__ == "__main__":
    sys.exit(main())
