"""The dashboards in JSON are what the code makes."""

import json

import pytest

from tools.grafana.board import Board
from tools.grafana.boards import BOARDS
from tools.grafana.overview_board import OVERVIEW

generate = pytest.importorskip("tools.grafana.generator")


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_current(board: Board) -> None:
    """
    `make dashboards` would change nothing.
    """
    assert (generate.FOLDER / f"{board.uid}.json").read_text() == generate.generate(board)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_panel_is_there(board: Board) -> None:
    """
    Every panel has its queries, an explanation, the chosen source and a place of its own.
    """
    made = json.loads(generate.generate(board))
    panels = [panel for panel in made["panels"] if panel["type"] != "row"]
    declared = [panel for panels in board.rows.values() for panel in panels]
    assert [panel["title"] for panel in panels] == [panel.title for panel in declared]
    for panel, meant in zip(panels, declared, strict=True):
        assert [target["expr"] for target in panel["targets"]] == [q.expr for q in meant.queries]
        assert panel["datasource"]["uid"] == "$datasource"
        assert panel["description"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in made["panels"]}
    assert len(places) == len(made["panels"])
    assert not any(panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24 for panel in panels)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_choices(board: Board) -> None:
    """
    A viewer chooses the source, namespaces, servers and models, one, several or all; every query
    of ours uses the choices, and windows that suit the scrape interval.
    """
    made = json.loads(generate.generate(board))
    variables = {one["name"]: one for one in made["templating"]["list"]}
    choices = ["namespace", "instance", *(["model"] if board.by_model else [])]
    assert list(variables) == ["datasource", *choices]
    for name in choices:
        one = variables[name]
        assert one["multi"]
        assert one["includeAll"]
        assert one["refresh"] == 2, "whenever the time range changes"
    expressions = [query.expr for row in board.rows.values() for p in row for query in p.queries]
    for expression in expressions:
        recorded = expression.startswith(("job:", "DCGM_"))
        assert recorded or '"$instance"' in expression
        assert "[1m]" not in expression
        assert "rate(" not in expression or "[$__rate_interval]" in expression
    names = [one["name"] for one in made["annotations"]["list"]]
    assert {"Restarts", "Loaded versions"} <= set(names)
    # A window of one scrape a minute would hold a single value, which never changes.
    events = [one["expr"] for one in made["annotations"]["list"] if "expr" in one]
    assert not [expression for expression in events if "[1m]" in expression]


def test_colours_and_limits() -> None:
    """
    A number is red only where it is bad, and a status has the same colour everywhere.
    """
    made = json.loads(generate.generate(OVERVIEW))
    panels = {panel["title"]: panel for panel in made["panels"]}

    def steps(title: str) -> list[str]:
        limits = panels[title]["fieldConfig"]["defaults"]["thresholds"]["steps"]
        return [step["color"] for step in limits]

    assert steps("Calls") == ["text"]
    assert steps("Failed") == ["green", "yellow", "red"]
    overrides = panels["Calls by outcome"]["fieldConfig"]["overrides"]
    colours = {one["matcher"]["options"]: one["properties"][0]["value"] for one in overrides}
    assert colours["OK"]["fixedColor"] == "green"
    assert colours["INTERNAL"]["fixedColor"] == "dark-red"
    (link,) = panels["p99 by model"]["fieldConfig"]["defaults"]["links"]
    assert link["url"].startswith("/d/convoy-model?var-model=${__field.labels.model}&")


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_units_of_rates(board: Board) -> None:
    """
    Rates of images count images, and rates of calls and refusals count requests.
    """
    for panel in (panel for row in board.rows.values() for panel in row):
        expressions = " ".join(query.expr for query in panel.queries)
        if panel.unit in ("cps", "reqps"):
            counts_images = "_images_total" in expressions or "convoy_batch_size_sum" in expressions
            assert panel.unit == ("cps" if counts_images else "reqps"), panel.title
