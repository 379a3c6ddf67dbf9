"""Writes the dashboards as Grafana's JSON: `python -m tools.grafana.generator`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, StackingMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from tools.grafana.board import Board, Panel, Query
from tools.grafana.boards import BOARDS

FOLDER = Path(__file__).parents[2] / "deploy/grafana/dashboards"

SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
"""The data source that a viewer chose."""

VARIABLES = {
    "namespace": 'label_values(up{job="convoy"}, namespace)',
    "instance": 'label_values(up{job="convoy", namespace=~"$namespace"}, instance)',
    "model": 'label_values(convoy_model_info{instance=~"$instance"}, model)',
}
"""The choices above a dashboard, and their values; each may depend on the last."""

CODE_COLOURS = {
    "OK": "green",
    "CANCELLED": "text",
    "INVALID_ARGUMENT": "blue",
    "NOT_FOUND": "blue",
    "RESOURCE_EXHAUSTED": "yellow",
    "DEADLINE_EXCEEDED": "orange",
    "UNAVAILABLE": "red",
    "INTERNAL": "dark-red",
}
"""The same colour for a gRPC status in every panel: faults of the server are red."""

ANNOTATIONS = {
    "Restarts": (
        'changes(process_start_time_seconds{job="convoy", instance=~"$instance"}[2m]) > 0',
        "orange",
    ),
    "Loaded versions": (
        'changes(convoy_model_loads_total{outcome="loaded", instance=~"$instance"}[2m]) > 0',
        "blue",
    ),
}
"""The events that are marked in every panel: a query that is above 0 at the time, and a colour."""

DEVICE_LABEL, MODEL_LABEL = "instance", "model"

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
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            builders.DashboardLink("convoy")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["convoy"])
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(builders.DatasourceVariable("datasource").label("Source").type("prometheus"))
    )
    for name in VARIABLES if board.by_model else ("namespace", "instance"):
        made = made.with_variable(_variable(name))
    for name, (expression, colour) in ANNOTATIONS.items():
        made = made.annotation(
            builders.AnnotationQuery()
            .name(name)
            .datasource(SOURCE)
            .expr(expression)
            .icon_color(colour)
        )
    for title, panels in board.rows.items():
        made = made.with_row(builders.Row(title))
        for panel in panels:
            made = made.with_panel(_panel(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _variable(name: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(VARIABLES[name])
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        # Also what lacks the label: outside of Kubernetes nothing has a namespace.
        .all_value(".*")
    )


def _panel(panel: Panel) -> Any:
    made = _OF_KIND[panel.kind](panel)
    for place, query in enumerate(panel.queries):
        made = made.with_target(_query(query, panel, chr(ord("A") + place)))
    if any(query.legend == "{{code}}" for query in panel.queries):
        for code, colour in CODE_COLOURS.items():
            fixed = {"mode": "fixed", "fixedColor": colour}
            made = made.override_by_name(code, [DynamicConfigValue("color", fixed)])
    if panel.leads_to:
        made = made.data_links([_link(panel.leads_to)])
    height = NUMBER_HEIGHT if panel.kind == "number" else HEIGHT
    return (
        made.title(panel.title)
        .description(panel.about)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(height)
    )


def _link(target: str) -> builders.DashboardLink:
    """Link a series to the dashboard of its model, or of its server."""
    label = MODEL_LABEL if target == "model" else DEVICE_LABEL
    chosen = f"var-{label}=${{__field.labels.{label}}}"
    kept = "${datasource:queryparam}&${__url_time_range}"
    return builders.DashboardLink(f"This {target}").url(f"/d/convoy-{target}?{chosen}&{kept}")


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
    steps = [Threshold(None, "text")]
    if panel.limits:
        high, bad = panel.limits
        steps = [Threshold(None, "green"), Threshold(high, "yellow"), Threshold(bad, "red")]
    limits = builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    return stat.Panel().thresholds(limits).color_mode(BigValueColorMode.VALUE)


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
