"""The figures of an evaluation: confusion matrices, and the reliability curves of all models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from convoy.artifact.whole_files import replacing
from convoy.commands.evaluate.report import ModelResult, Report

_MOST_NAMED = 30
"""Classes whose names and numbers still can be read in a matrix."""


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
        with replacing(paths[-1]) as half:
            figure.savefig(half, dpi=150)
    return paths


def reliability(report: Report) -> Figure:
    """Draw accuracy against confidence: calibrated probabilities lie on the diagonal."""
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], ":", color="#7f7f7f", label="calibrated")
    for result in report.results:
        bins = result.evaluation.bins
        axes.plot(
            [one.confidence for one in bins],
            [one.accuracy for one in bins],
            "o-",
            markersize=4,
            label=f"{result.title}, ECE {result.evaluation.ece:.3f}",
        )
    data = report.results[0].evaluation
    axes.set(
        xlabel="probability of the answer, mean of a bin",
        ylabel="share of right answers",
        xlim=(0, 1),
        ylim=(0, 1),
        title=f"Reliability on {data.data}, {data.images} images",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="upper left")
    return figure


def confusion(result: ModelResult) -> Figure:
    """Draw the share of each true class that was given each class."""
    labels = [one.label for one in result.evaluation.classes]
    counts = np.zeros((len(labels), len(labels)))
    for true, given, count in result.evaluation.confusion:
        counts[true, given] = count
    images = np.array([one.images for one in result.evaluation.classes])
    shares = counts / np.maximum(images, 1)[:, None]
    side = min(12, 3 + 0.35 * len(labels))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class")
    axes.set(xlabel="answer", ylabel="true class", title=f"{result.title}: confusion")
    if len(labels) <= _MOST_NAMED:
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
        for true, given, count in result.evaluation.confusion:
            ink = "white" if shares[true, given] > 0.5 else "black"
            axes.text(given, true, str(count), ha="center", va="center", color=ink, fontsize=7)
    return figure
