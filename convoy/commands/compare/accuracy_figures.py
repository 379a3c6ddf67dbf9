"""Figures of accuracy: alone, against operations and speed, and for each million parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convoy.artifact.estimates import wilson
from convoy.commands.compare import accuracy, captions
from convoy.commands.compare.accuracy import Score, Series
from convoy.commands.compare.comparison_data import Comparison
from convoy.figures import style
from convoy.figures.families import color
from convoy.figures.labels import Mark, label_marks

_PARAMETERS = "Parameters are those of the network whose accuracy is shown."
_INTERVALS = "Lines: 95 % intervals (Wilson) of the images; the seed of a training adds to them."
_FRONT = "Grey: the Pareto front; each other network is slower than one of these, which is as good."

_DOT = 6.0
"""The diameter of a dot in points."""


def top1_per_network(kinds: Sequence[Series]) -> Figure:
    """Draw the accuracy of each network with its 95 % interval, the best on top, by kind."""
    most = max(len(series.scores) for series in kinds)
    made, panels, _ = style.frame(
        "Top-1 accuracy",
        [_INTERVALS, *(line for series in kinds for line in _sources(series))],
        [series.title for series in kinds],
        panel_in=_listed_in(most),
    )
    for axes, series in zip(panels, kinds, strict=True):
        scores = sorted(series.scores, key=lambda score: score.top1)
        for place, score in enumerate(scores):
            percents = _interval(score)
            axes.plot(percents, [place, place], color=_shade(score))
            _add_mark(axes, score, 100 * score.top1, place)
            _add_value(axes, f"{100 * score.top1:.1f}", percents[1], place)
        _names_as_ticks(axes, scores, _names(series))
        axes.set_xlabel("top-1 (%)")
        axes.margins(x=0.16)
        axes.set_xlim(right=min(100, axes.get_xlim()[1]))
    return made


def top1_against_operations(series: Series) -> Figure:
    """Draw accuracy against operations, as balls whose area shows the parameters."""
    made, (axes,), key = style.frame(
        "Top-1 accuracy against operations",
        [f"{_PARAMETERS} {captions.OPERATIONS} {_INTERVALS}", *_sources(series)],
        [series.title],
        panel_in=5.2,
        key_in=captions.KEY_IN,
    )
    counted = [(score, score.operations) for score in series.scores if score.operations is not None]
    unit, unit_name = captions.unit(max(count for _, count in counted))
    names, marks = _names(series), []
    for score, count in counted:
        x, y, size = count / unit, 100 * score.top1, captions.diameter(score.parameters)
        _add_interval(axes, score, x)
        captions.add_ball(axes, x, y, size, score.architecture, hollow=not score.of_these_weights)
        marks.append(Mark(names[score], x, y, size / 2))
    axes.set(xlabel=f"operations for one image ({unit_name})", ylabel="top-1 (%)")
    axes.margins(0.12)
    axes.set_xlim(left=0)  # no network has fewer operations than none
    _end_at_100(axes)
    assert key
    captions.add_key_of_balls(key)
    label_marks(axes, marks)
    return made


def top1_against_speed(comparison: Comparison, series: Series) -> Figure:
    """Draw accuracy against images per second: in the smallest, and in the fastest batches."""
    first = comparison.batch_sizes[0]
    networks = {network.name: network for network in comparison.networks}
    scores = [score for score in series.scores if score.of_these_weights]
    smallest = [
        (score, 1000 / batch.ms_per_image)
        for score in scores
        if (batch := networks[score.name].batch(first))
    ]
    fastest = [(score, 1000 / networks[score.name].fastest.ms_per_image) for score in scores]
    panels = {
        f"{series.title}; batches of {first}": smallest,
        f"{series.title}; each in its fastest batches": fastest,
    }
    return against_speed(panels, captions.measured_on(comparison.machine))


def against_speed(panels: Mapping[str, Sequence[tuple[Score, float]]], conditions: str) -> Figure:
    """
    Draw accuracy against images per second.

    A line joins the networks for which no other one is both faster and more accurate.

    Args:
        panels: Accuracies with images per second, by the title of their panel.
        conditions: The machine and the way of the measurement, in words.
    """
    made, drawn, _ = style.frame(
        "Top-1 accuracy against images per second",
        [f"{_FRONT} {_INTERVALS}", conditions],
        list(panels),
        columns=1,
        panel_in=3.8,
    )
    marks = []
    for axes, points in zip(drawn, panels.values(), strict=True):
        for score, x in points:
            _add_interval(axes, score, x)
            axes.plot(x, 100 * score.top1, "o", ms=_DOT, mec="white", color=_shade(score))
        front = _pareto_front([(x, 100 * score.top1) for score, x in points])
        axes.plot(*zip(*front, strict=True), color=style.FAINT, lw=1, zorder=0)
        axes.set(xlabel="images per second", ylabel="top-1 (%)")
        axes.margins(0.14)
        _end_at_100(axes)
        style.set_logarithmic(axes, x=True)
        marks.append([Mark(score.name, x, 100 * score.top1, _DOT / 2) for score, x in points])
    for axes, found in zip(drawn, marks, strict=True):
        label_marks(axes, found)
    return made


def accuracy_density(series: Series) -> Figure:
    """Draw the accuracy for each million parameters, the densest network on top."""
    made, (axes,), _ = style.frame(
        "Accuracy for each million parameters",
        [_PARAMETERS, *_sources(series)],
        [series.title],
        panel_in=_listed_in(len(series.scores)),
    )
    scores = sorted(series.scores, key=lambda score: score.density)
    for place, score in enumerate(scores):
        _add_mark(axes, score, score.density, place)
        # Densities span four decades: no decimals above 100, three digits below.
        value = f"{score.density:,.0f}" if score.density >= 100 else f"{score.density:#.3g}"
        _add_value(axes, value, score.density, place)
    _names_as_ticks(axes, scores, _names(series))
    axes.set_xlabel("top-1 (%) for each million parameters")
    style.set_logarithmic(axes, x=True)
    axes.margins(x=0.12)
    return made


def _pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points than which no other one has a larger x and as large a y, by x."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, reverse=True):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front[::-1]


def _shade(score: Score) -> str:
    return color(score.architecture)


def _interval(score: Score) -> list[float]:
    """Return the ends of the 95 % interval of the images alone, in percent."""
    return [100 * end for end in wilson(round(score.top1 * score.images), score.images)]


def _add_interval(axes: Axes, score: Score, x: float) -> None:
    axes.plot([x, x], _interval(score), lw=1, color=(_shade(score), 0.6))


def _listed_in(count: int) -> float:
    """Return the height in inches of a panel with a line for each of *count* names."""
    return 1.0 + 0.19 * count


def _add_mark(axes: Axes, score: Score, x: float, place: int) -> None:
    """Add a filled mark for a model here, a hollow one for other weights of its architecture."""
    shade = _shade(score)
    axes.plot(x, place, "o", ms=_DOT, color=shade, mfc=shade if score.of_these_weights else "white")


def _add_value(axes: Axes, text: str, x: float, place: int) -> None:
    axes.annotate(
        text, (x, place), (6, 0), textcoords="offset points", va="center", fontsize=style.SMALL
    )


def _end_at_100(axes: Axes) -> None:
    """End the vertical axis of percentages where they do."""
    axes.set_ylim(top=min(100, axes.get_ylim()[1]))


def _names_as_ticks(axes: Axes, scores: Sequence[Score], names: Mapping[Score, str]) -> None:
    axes.set_yticks(range(len(scores)), [names[score] for score in scores])
    axes.set_ylim(-0.7, len(scores) - 0.3)


def _names(series: Series) -> dict[Score, str]:
    """Return the names of the scores, with the number of the source if there are several."""
    sources = accuracy.numbered(series.scores)
    return {
        score: f"{score.name} [{sources[score.source]}]" if len(sources) > 1 else score.name
        for score in series.scores
    }


def _sources(series: Series) -> list[str]:
    """Return lines of small print: the sources, and the models without an accuracy."""
    lines = []
    sources = accuracy.numbered(series.scores)
    if set(sources) != {series.title}:
        names = "; ".join(f"[{number}] {source}" for source, number in sources.items())
        lines.append(f"Published by {names}.")
    if not all(score.of_these_weights for score in series.scores):
        lines.append("Hollow marks: of other weights of the architecture than those here.")
    if series.missing:
        lines.append(f"Not {series.title}: {', '.join(series.missing)}.")
    return lines
