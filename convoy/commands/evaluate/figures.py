"""The figures of an evaluation: confusion matrices, and the reliability curves of all models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convoy.artifact.estimates import wilson
from convoy.commands.evaluate.report import ModelResult, Report
from convoy.figures import style
from convoy.figures.families import SERIES, color

_MOST_NAMED = 30
"""Classes whose names and numbers still can be read in a matrix."""

_LONGEST = 16
"""Letters of a class that are shown; a longer name is cut."""

_BAR_STEP = 0.7
"""Distance between the bars of two models in one bin, in percentage points."""

_LOOKS = ("-", "--", ":", "-.")


def draw_all(report: Report, folder: Path, suffix: str) -> list[Path]:
    """
    Write every figure into *folder*, and return the paths.

    Raises:
        OSError: If one cannot be written.
    """
    figures = {"reliability": reliability(report)}
    for result in report.results:
        figures[f"confusion-{result.model}-{result.version}"] = confusion(result)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.{suffix}")
        style.save(figure, paths[-1])
    return paths


def reliability(report: Report) -> Figure:
    """Draw accuracy against confidence: calibrated probabilities lie on the diagonal."""
    data = report.results[0].evaluation
    made, (axes,), key = style.frame(
        "Reliability of probabilities",
        [
            "Points: bins of the probability of the answer. Bars: 95 % intervals (Wilson) of the "
            "accuracy in a bin. ECE: expected calibration error."
        ],
        [f"{data.data}, {data.images:,} images; dotted: calibrated"],
        panel_in=5.4,
        key_in=0.2 * len(report.results),
    )
    assert key
    axes.plot([0, 100], [0, 100], ":", color=style.FAINT)
    count = len(report.results)
    for place, (result, shade) in enumerate(zip(report.results, _shades(report), strict=True)):
        look, height = _LOOKS[place % len(_LOOKS)], 1 - (place + 0.5) / count
        _add_bins(axes, result, look, shade, _BAR_STEP * (place - (count - 1) / 2))
        key.plot([0, 0.05], [height, height], linestyle=look, color=shade)
        text = f"{result.title}: ECE {result.evaluation.ece:.3f}"
        key.text(0.06, height, text, color=shade, fontsize=style.SMALL, va="center")
    axes.set(xlabel="probability of the answer, mean of a bin (%)", ylabel="accuracy (%)")
    axes.set(xlim=(0, 102), ylim=(0, 102))
    return made


def _shades(report: Report) -> Sequence[str]:
    """Return a colour for each model: that of its family, if no other model has it."""
    shades = [color(result.model) for result in report.results]
    if len(set(shades)) == len(shades):
        return shades
    return [SERIES[place % len(SERIES)] for place in range(len(shades))]


def _add_bins(axes: Axes, result: ModelResult, look: str, shade: str, shift: float) -> None:
    """Draw the bins of one model with their intervals, which are moved aside by *shift*."""
    bins = result.evaluation.bins
    points = [(100 * one.confidence, 100 * one.accuracy) for one in bins]
    axes.plot(*zip(*points, strict=True), "o", linestyle=look, ms=4, color=shade)
    for one, (x, _) in zip(bins, points, strict=True):
        low, high = wilson(round(one.accuracy * one.images), one.images)
        axes.plot([x + shift] * 2, [100 * low, 100 * high], lw=1, color=(shade, 0.6))


def confusion(result: ModelResult) -> Figure:
    """Draw the share of each true class that was given each class."""
    evaluation = result.evaluation
    labels = [one.label for one in evaluation.classes]
    counts = np.zeros((len(labels), len(labels)))
    for true, given, count in evaluation.confusion:
        counts[true, given] = count
    images = np.array([one.images for one in evaluation.classes])
    shares = counts / np.maximum(images, 1)[:, None]
    made, (axes,), _ = style.frame(
        f"{result.title}: confusion",
        ["Shade: the share of the true class. Numbers: images."],
        [f"{evaluation.data}, {evaluation.images:,} images"],
        panel_in=min(9.0, 3 + 0.3 * len(labels)),
    )
    # Square cells of few classes would leave half of the figure blank.
    shown = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    bar = made.colorbar(shown, ax=axes)
    bar.set_label("% of the true class", fontsize=style.SMALL)
    bar.ax.tick_params(labelsize=style.SMALL)
    axes.grid(visible=False)
    axes.set(xlabel="answer", ylabel="true class")
    if len(labels) <= _MOST_NAMED:
        _name_cells(axes, [_shortened(label) for label in labels], result, shares)
    return made


def _name_cells(axes: Axes, labels: list[str], result: ModelResult, shares: np.ndarray) -> None:
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    for true, given, count in result.evaluation.confusion:
        ink = "white" if shares[true, given] > 0.5 else style.INK
        axes.text(
            given, true, str(count), ha="center", va="center", color=ink, fontsize=style.SMALL
        )


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
