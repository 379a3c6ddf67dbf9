"""Writes the dashboards as Grafana's JSON: `python -m tools.grafana.generator`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from tools.grafana.board import Board, Panel, Query
from tools.grafana.boards import BOARDS

FOLDER = Path(__file__).parents[2] / "deploy/grafana/dashboards"

SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
"""The data source of deploy/grafana/provisioning/datasources."""

HEIGHT = 8
NUMBER_HEIGHT = 4


def generate(board: Board) -> str:
    """Return the dashboard as JSON."""
    made = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["convoy"])
        .refresh("5s")
        .time("now-30m", "now")
        .timezone("browser")
        .readonly()
        .link(
            builders.DashboardLink("convoy")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["convoy"])
            .keep_time(True)
        )
    )
    # The models come from the servers, so that the choice is never out of date.
    if board.by_model:
        made = made.with_variable(
            builders.QueryVariable("model")
            .label("Model")
            .datasource(SOURCE)
            .query("label_values(convoy_model_info, model)")
        )
    for title, panels in board.rows.items():
        made = made.with_row(builders.Row(title))
        for panel in panels:
            made = made.with_panel(_panel(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _panel(panel: Panel) -> Any:
    made = _OF_KIND[panel.kind](panel)
    for place, query in enumerate(panel.queries):
        made = made.with_target(_query(query, panel, chr(ord("A") + place)))
    height = NUMBER_HEIGHT if panel.kind == "number" else HEIGHT
    return (
        made.title(panel.title)
        .description(panel.about)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(height)
    )


def _query(query: Query, panel: Panel, reference: str) -> Dataquery:
    made = Dataquery().expr(query.expr).legend_format(query.legend or "__auto").ref_id(reference)
    # A heatmap needs its buckets as they are; a table shows the present, not a range.
    if panel.kind == "heatmap":
        return made.format(PromQueryFormat.HEATMAP)
    if panel.kind == "table":
        return made.format(PromQueryFormat.TABLE).instant()
    return made


def _lines(panel: Panel) -> Any:
    return timeseries.Panel().fill_opacity(10).line_width(1).min(0)


def _stacked(panel: Panel) -> Any:
    stacking = common_builders.StackingConfig().mode(StackingMode.NORMAL)
    return timeseries.Panel().fill_opacity(50).line_width(1).min(0).stacking(stacking)


def _heatmap(panel: Panel) -> Any:
    colour = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
    axis = heatmap.YAxisConfig().unit(panel.unit)
    return heatmap.Panel().color(colour).y_axis(axis)


def _number(panel: Panel) -> Any:
    return stat.Panel()


def _table(panel: Panel) -> Any:
    return table.Panel()


_OF_KIND = {
    "lines": _lines,
    "stacked": _stacked,
    "heatmap": _heatmap,
    "number": _number,
    "table": _table,
}


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(generate(board))


if __name__ == "__main__":
    main()
