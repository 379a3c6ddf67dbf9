"""The figure of He et al.'s question: are more layers worse, with and without shortcuts?"""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.zoo.zoo_table import Row
from convoy.figures import style
from convoy.figures.families import color
from convoy.figures.labels import Mark, label_marks

DEPTHS = ((20, 56), (18, 34))
"""The depths of each pair of networks."""

_KINDS = ("plain", "resnet")


def figure(path: Path) -> Figure:
    """Draw the last loss and the accuracy of seed 0 in the results at *path*, by depth."""
    rows = {row["name"]: row for row in json.loads(path.read_text()) if row["seed"] == 0}
    made, panels, _ = style.frame(
        "More layers, with and without shortcuts",
        [
            "Trained on hard5k, seed 0 (bench.zoo). Loss: of the training images, in the last "
            "epoch. Bars: 95 % intervals (Wilson) of 1,000 test images; another seed adds to them."
        ],
        [
            f"{what}: {shallow} and {deep} layers"
            for shallow, deep in DEPTHS
            for what in ("training loss", "hard digits")
        ],
        panel_in=3.2,
    )
    marks = [
        _add_pair(axes, rows, DEPTHS[number // 2], is_loss=number % 2 == 0)
        for number, axes in enumerate(panels)
    ]
    for axes, found in zip(panels, marks, strict=True):
        label_marks(axes, found)
    return made


def _add_pair(
    axes: Axes, rows: dict[str, Row], depths: tuple[int, int], *, is_loss: bool
) -> list[Mark]:
    """Add a line from the shallow to the deep network of each kind; return their marks."""
    marks = []
    for kind in _KINDS:
        found = [rows[f"{kind}{depth}"] for depth in depths]
        values = [row["training_loss"] if is_loss else 100 * row["accuracy_hard"] for row in found]
        axes.plot(depths, values, "o-", ms=5, color=color(kind))
        for row, depth in zip(found, depths, strict=True):
            if not is_loss:
                ends = [100 * end for end in row["accuracy_hard_interval"]]
                axes.plot([depth, depth], ends, lw=1, color=(color(kind), 0.6))
        marks += [
            Mark(row["name"], depth, value, 3)
            for row, depth, value in zip(found, depths, values, strict=True)
        ]
    axes.set(xlabel="layers", ylabel="cross-entropy" if is_loss else "accuracy (%)")
    axes.margins(0.25)
    axes.set_xticks(depths)
    if is_loss:
        axes.set_ylim(bottom=0)
    return marks
