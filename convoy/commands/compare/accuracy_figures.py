"""Figures of accuracy: alone, against operations, and for each million parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convoy.commands.compare import accuracy, theme
from convoy.commands.compare.accuracy import Score, Series
from convoy.commands.compare.mark_labels import Mark, label_marks
from convoy.commands.measurement.intervals import wilson

_PARAMETERS = "Parameters are those of the network whose accuracy is shown."


def top1_per_network(kinds: Sequence[Series]) -> Figure:
    """Draw the accuracy of each network with its 95 % interval, the best on top, by kind."""
    caption = ["Lines: 95 % intervals (Wilson).", *(line for s in kinds for line in _sources(s))]
    made, panels = theme.figure("Top-1 accuracy", caption, [series.title for series in kinds])
    for axes, series in zip(panels, kinds, strict=True):
        scores = sorted(series.scores, key=lambda score: score.top1)
        for place, score in enumerate(scores):
            # The interval of the images alone; the seed of a training adds to it.
            ends = wilson(round(score.top1 * score.images), score.images)
            percents = [100 * end for end in ends]
            axes.plot(percents, [place, place], color=theme.color(score.architecture))
            _add_mark(axes, score, 100 * score.top1, place)
            _add_value(axes, f"{100 * score.top1:.1f}", percents[1], place)
        _names_as_ticks(axes, scores, _names(series))
        axes.set_xlabel("top-1 (%)")
        axes.margins(x=0.12)
    theme.add_legend(made, _architectures(kinds))
    return made


def top1_against_operations(series: Series) -> Figure:
    """Draw accuracy against operations, as balls whose area shows the parameters."""
    made, (axes,) = theme.figure(
        "Top-1 accuracy against operations",
        [f"{_PARAMETERS} {theme.OPERATIONS}", *_sources(series)],
        [series.title],
    )
    counted = [(score, score.operations) for score in series.scores if score.operations is not None]
    unit, unit_name = theme.unit(max(count for _, count in counted))
    names, marks = _names(series), []
    for score, count in counted:
        x, y, size = count / unit, 100 * score.top1, theme.diameter(score.parameters)
        theme.add_ball(axes, x, y, size, score.architecture, hollow=not score.of_these_weights)
        marks.append(Mark(names[score], x, y, size / 2))
    axes.set(xlabel=f"operations for one image ({unit_name})", ylabel="top-1 (%)")
    axes.margins(0.12)
    theme.add_legend(made, _architectures([series]), balls=True)
    label_marks(axes, marks)
    return made


def accuracy_density(series: Series) -> Figure:
    """Draw the accuracy for each million parameters, the densest network on top."""
    made, (axes,) = theme.figure(
        "Accuracy for each million parameters", [_PARAMETERS, *_sources(series)], [series.title]
    )
    scores = sorted(series.scores, key=lambda score: score.density)
    for place, score in enumerate(scores):
        _add_mark(axes, score, score.density, place)
        # Densities span four decades: no decimals above 100, three digits below.
        value = f"{score.density:,.0f}" if score.density >= 100 else f"{score.density:#.3g}"
        _add_value(axes, value, score.density, place)
    _names_as_ticks(axes, scores, _names(series))
    axes.set_xlabel("top-1 (%) for each million parameters")
    theme.set_logarithmic(axes, x=True)
    axes.margins(x=0.12)
    theme.add_legend(made, _architectures([series]))
    return made


def _add_mark(axes: Axes, score: Score, x: float, place: int) -> None:
    """Add a filled mark for a model here, a hollow one for other weights of its architecture."""
    color = theme.color(score.architecture)
    axes.plot(x, place, "o", color=color, mfc=color if score.of_these_weights else "white")


def _add_value(axes: Axes, text: str, x: float, place: int) -> None:
    axes.annotate(
        text, (x, place), (6, 0), textcoords="offset points", va="center", fontsize=theme.SMALL
    )


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


def _architectures(kinds: Sequence[Series]) -> list[str]:
    return [score.architecture for series in kinds for score in series.scores]
