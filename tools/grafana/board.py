"""The content of a dashboard: rows of panels and their queries. `generator.py` writes them as JSON.

`$namespace`, `$instance` and `$model` are what a viewer chose; `expressions.py` has the expressions
that several panels need.
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
        needs: Condition for data: a GPU, a control group with a limit of memory, or NVIDIA's DCGM
            exporter.
    """

    expr: str
    legend: str = ""
    needs: Literal["", "gpu", "limit", "dcgm"] = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """
    One panel.

    Attributes:
        about: Explanation for readers.
        unit: Grafana's name of the unit.
        width: Columns, of 24.
        limits: Values from which a number is yellow, and red; None if no value is bad.
        leads_to: The dashboard of one of its series, which is chosen by its labels.
    """

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "lines"
    width: int = 12
    limits: tuple[float, float] | None = None
    leads_to: Literal["", "model", "device"] = ""


@dataclass(frozen=True, slots=True)
class Board:
    """
    One dashboard.

    Attributes:
        uid: Grafana's identifier, and the name of the file.
        rows: Panels, by the title of their row.
        by_model: True if a viewer chooses models, and not servers only.
    """

    uid: str
    title: str
    about: str
    rows: dict[str, tuple[Panel, ...]]
    by_model: bool = False
