"""The dashboards in JSON are what the code makes."""

import json

import pytest

from tools.grafana.board import Board
from tools.grafana.boards import BOARDS

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
    Every panel has its queries, an explanation, the provisioned source and a place of its own.
    """
    made = json.loads(generate.generate(board))
    panels = [panel for panel in made["panels"] if panel["type"] != "row"]
    declared = [panel for panels in board.rows.values() for panel in panels]
    assert [panel["title"] for panel in panels] == [panel.title for panel in declared]
    for panel, meant in zip(panels, declared, strict=True):
        assert [target["expr"] for target in panel["targets"]] == [q.expr for q in meant.queries]
        assert panel["datasource"]["uid"] == "prometheus"
        assert panel["description"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in made["panels"]}
    assert len(places) == len(made["panels"])
    assert not any(panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24 for panel in panels)
