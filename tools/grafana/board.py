"""The content of a dashboard: rows of panels and their queries. `generator.py` writes them as JSON.

`$model` is the model that a viewer chose. An expression that several panels or alerts share is a
recording rule in `deploy/prometheus/rules.yml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["lines", "stacked", "heatmap", "number", "table"]


@dataclass(frozen=True, slots=True)
class Query:
    """
    One query of a panel.

    Attributes:
        legend: Name of each of its series, with labels in `{{ }}`.
        needs: Condition for data: a GPU, or a control group with a limit of memory.
    """

    expr: str
    legend: str = ""
    needs: Literal["", "gpu", "limit"] = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """
    One panel.

    Attributes:
        about: Explanation for readers.
        unit: Grafana's name of the unit.
        width: Columns, of 24.
    """

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "lines"
    width: int = 12


@dataclass(frozen=True, slots=True)
class Board:
    """
    One dashboard.

    Attributes:
        uid: Grafana's identifier, and the name of the file.
        rows: Panels, by the title of their row.
        by_model: True if a viewer chooses a model.
    """

    uid: str
    title: str
    about: str
    rows: dict[str, tuple[Panel, ...]]
    by_model: bool = False
