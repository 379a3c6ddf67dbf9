"""The figure of a tuning: throughput against latency."""

from __future__ import annotations

import itertools
from pathlib import Path

from matplotlib.figure import Figure

from convoy.artifact.tuning import Choice, Tuning
from convoy.artifact.whole_files import replacing
from convoy.commands.tune.trials import request_p99_ms

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")


def draw(title: str, tuning: Tuning, path: Path) -> None:
    """
    Draw *tuning*, as PNG or SVG by the name of *path*.

    Raises:
        OSError: If it cannot be written.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    lines: dict[tuple[str, int], list[Choice]] = {}
    for choice in tuning.measured:
        lines.setdefault((choice.runtime, choice.threads), []).append(choice)
    for color, ((runtime, threads), line) in zip(itertools.cycle(_COLORS), lines.items()):
        runs = tuning.machine.runs_at_once(threads)
        label = f"{runtime}, {_many(runs, 'run')} of {_many(threads, 'thread')}"
        if tuning.machine.gpu:  # the number of threads has no meaning there
            label = "one run at a time"
        x, y = [request_p99_ms(c) for c in line], [c.images_per_s for c in line]
        axes.plot(x, y, "o-", color=color, label=label, ms=4)
        for choice, at in zip(line, zip(x, y, strict=True), strict=True):
            name = str(choice.batch_size)
            axes.annotate(name, at, (5, -9), textcoords="offset points", fontsize=8)
    chosen = tuning.chosen
    axes.plot(
        request_p99_ms(chosen),
        chosen.images_per_s,
        "o",
        ms=13,
        mfc="none",
        mec="black",
        label="chosen",
    )
    axes.axvline(tuning.p99_ms, color="#999999", linestyle=":", label=f"{tuning.p99_ms:g} ms")
    axes.set(xscale="log", xlabel="p99 of a request under full load, ms (two runs)")
    axes.set(ylabel="images per second", ylim=(0, None))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(color="#e4e4e4", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    machine = tuning.machine
    caption = f"{tuning.made_at:%Y-%m-%d}, {machine.processor}, {_many(machine.cores, 'core')}, "
    caption += f"{machine.device}, " if machine.gpu else ""
    caption += f"ONNX Runtime {machine.onnxruntime}; numbers: images in a batch"
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=7.5, color="#666666")
    with replacing(path) as half:
        figure.savefig(half, dpi=150)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}"
