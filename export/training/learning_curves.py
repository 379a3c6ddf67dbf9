"""Drawing of trainings: loss and accuracy over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convoy.export.training.epoch_log import Epoch


def draw_curves(runs: Mapping[str, Sequence[Epoch]], path: Path) -> None:
    """
    Draw each of *runs* by its name into one PNG or SVG file.

    Training is a dashed line; validation, if it was measured, is a solid one.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for index, (name, epochs) in enumerate(runs.items()):
        colour = f"C{index}"
        numbers = [epoch.epoch for epoch in epochs]
        trained = [epoch.loss for epoch in epochs], [epoch.accuracy for epoch in epochs]
        for axes, values in zip((loss, accuracy), trained, strict=True):
            axes.plot(numbers, values, "--", color=colour, label=f"{name}, training")
        watched = [
            (epoch.epoch, epoch.validation_loss, epoch.validation_accuracy)
            for epoch in epochs
            if epoch.validation_accuracy is not None
        ]
        if watched:
            at, losses, shares = zip(*watched, strict=True)
            loss.plot(at, losses, "-", color=colour, label=f"{name}, validation")
            accuracy.plot(at, shares, "-", color=colour, label=f"{name}, validation")
    loss.set(xlabel="epoch", ylabel="loss", title="Loss")
    accuracy.set(xlabel="epoch", ylabel="share of right answers", title="Accuracy")
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
