"""Drawing of trainings: loss and accuracy over the epochs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convoy.export.training.epoch_log import Epoch, best_epoch
from convoy.figures import style
from convoy.figures.families import color, family
from convoy.figures.labels import Mark, label_ends

_LOOKS = ("-", "--", ":", "-.")
"""The line styles of networks of one family, which have one colour."""

_LINES = ("training", "validation")

_FAINT = 0.4
"""The opacity of a training, whose images are distorted, beside its validation."""

_VALIDATED = (
    "Strong lines: validation; the dot is the epoch whose weights are exported. Faint lines: "
    "training images as they were distorted."
)

_UNVALIDATED = "A network's only line is that of its training, on images as they were distorted."

_WIDE = 30
"""Losses that differ by more than this factor are drawn on a logarithmic scale."""


def curves(title: str, runs: Mapping[str, Sequence[Epoch]], caption: Sequence[str]) -> Figure:
    """Draw loss and accuracy of each of *runs*, by the name of its network or model."""
    made, panels, _ = style.frame(title, [*reading(runs), *caption], ["loss", "accuracy"])
    names = list(runs)
    labels = []
    for axes, field, unit in zip(panels, ("loss", "accuracy"), ("cross-entropy", "%"), strict=True):
        ends = []
        for name, look in zip(names, _looks(names), strict=True):
            last = add_run(axes, name, runs[name], field, look)
            # A single run needs no name, but its two lines do.
            words = {name: last[-1]} if len(runs) > 1 else dict(zip(_LINES, last, strict=False))
            marks = [Mark(word, runs[name][-1].epoch, value) for word, value in words.items()]
            ends += [(mark, color(name)) for mark in marks]
        axes.set(xlabel="epoch", ylabel=unit)
        style.set_whole(axes)
        low, high = axes.yaxis.get_data_interval()
        # On a linear scale, one bad epoch would flatten all others.
        if field == "loss" and 0 < _WIDE * low < high:
            style.set_logarithmic(axes, y=True)
        labels.append(ends)
    for axes, ends in zip(panels, labels, strict=True):
        label_ends(axes, [mark for mark, _ in ends], [shade for _, shade in ends])
    return made


def reading(runs: Mapping[str, Sequence[Epoch]]) -> list[str]:
    """Return the captions of the kinds of lines that are drawn."""
    validated = [_is_validated(epochs) for epochs in runs.values()]
    return [_VALIDATED] * any(validated) + [_UNVALIDATED] * (not all(validated))


def _is_validated(epochs: Sequence[Epoch]) -> bool:
    return any(epoch.validation_loss is not None for epoch in epochs)


def add_run(
    axes: Axes, name: str, epochs: Sequence[Epoch], field: str, look: str = "-"
) -> list[float]:
    """
    Add one training, and its validation if there is one, to *axes*.

    Args:
        field: `loss`, or `accuracy`, which is drawn in percent.

    Returns:
        The last value of the line of the training, and of that of the validation.
    """
    numbers, shade = [epoch.epoch for epoch in epochs], color(name)
    trained, validated = _values(epochs, field), _values(epochs, f"validation_{field}")
    opacity = _FAINT if validated else 1.0
    # A line through one point is invisible.
    marker = "o" if len(epochs) == 1 else ""
    axes.plot(numbers, trained, look, marker=marker, ms=4, color=(shade, opacity), lw=1.2)
    if not validated:
        return [trained[-1]]
    axes.plot(numbers, validated, look, color=shade, lw=1.6)
    best = best_epoch(epochs)
    axes.plot(best.epoch, _values([best], f"validation_{field}"), "o", ms=5, color=shade)
    return [trained[-1], validated[-1]]


def _values(epochs: Sequence[Epoch], field: str) -> list[float]:
    factor = 100 if field.endswith("accuracy") else 1
    values = [getattr(epoch, field) for epoch in epochs]
    return [factor * value for value in values if value is not None]


def _looks(names: Sequence[str]) -> Iterator[str]:
    """Yield a line style for each network, another one within its family."""
    seen = Counter[str]()
    for name in names:
        yield _LOOKS[seen[family(name)] % len(_LOOKS)]
        seen[family(name)] += 1
