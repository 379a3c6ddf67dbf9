"""The figure of `make flywheel`, drawn from its points in `docs/explanation/flywheel.json`."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convoy.figures import style
from convoy.figures.families import SERIES

ALARM = 0.2
"""The index that raises the alert ConvoyDrift."""


def figure(path: Path) -> Figure:
    """Draw accuracy and drift over the images that the camera sent, with the phases numbered."""
    found = json.loads(path.read_text())
    points, changes = found["points"], {"the model's own kind of images": 0, **found["changes"]}
    phases = "; ".join(f"{number}: {name}" for number, name in enumerate(changes, start=1))
    made, (accuracy, drift), _ = style.frame(
        "A camera that changes, and a model that is taught its images",
        [f"Measured on {found['measured_on']} (make flywheel). {phases}."],
        ["accuracy of 250 images; colours: the version that answered", "largest drift index"],
        columns=1,
        panel_in=2.6,
    )
    ends = [*itertools.islice(changes.values(), 1, None), points[-1]["images"]]
    for axes in (accuracy, drift):
        _number(axes, list(zip(changes.values(), ends, strict=True)))
        axes.set(xlim=(0, 1.01 * ends[-1]), xlabel="images sent")
    for version, color in zip((1, 2), SERIES, strict=False):
        own = [point for point in points if point["version"] == version]
        at = [point["images"] for point in own]
        style_of: dict[str, Any] = {"color": color, "marker": "o", "ms": 3, "lw": 1.2}
        accuracy.plot(at, [100 * point["accuracy"] for point in own], **style_of)
        known = [point for point in own if point["drift"] is not None]
        drift.plot([p["images"] for p in known], [p["drift"] for p in known], **style_of)
        accuracy.annotate(
            f"version {version}",
            (at[0], 100 * own[0]["accuracy"]),
            xytext=(4, -14),
            textcoords="offset points",
            fontsize=style.SMALL,
            color=style.INK,
        )
    accuracy.set(ylim=(0, 115), ylabel="accuracy (%)")
    drift.axhline(ALARM, color=style.FAINT, lw=0.8, ls="--")
    top = 1.2 * max(point["drift"] or 0.0 for point in points)
    drift.set(ylim=(-top / 40, top), ylabel="stability index")
    return made


def _number(axes: Axes, phases: list[tuple[int, int]]) -> None:
    for number, (begun, ended) in enumerate(phases, start=1):
        axes.axvspan(begun, ended, color=style.GRID, alpha=0.9 * (number % 2), lw=0)
        axes.text((begun + ended) / 2, 0.91, str(number), transform=axes.get_xaxis_transform())
        axes.texts[-1].set(fontsize=style.SMALL, color=style.INK, ha="center")
