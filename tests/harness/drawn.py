"""Faults of figures that a reader would see, found with matplotlib's own renderer."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from convoy.figures import families, style

WIDTH_IN = style.WIDTH_PX / 96

_COLOR = re.compile(r"(?:fill|stroke): (#[0-9a-f]{6})")
_NEUTRAL = {"#ffffff", "#000000", style.INK, style.FAINT, style.GRID}


def faults(figure: Figure) -> list[str]:
    """Return what is wrong with *figure*: texts that overlap, leave it, or are small; its width."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), _box(text)) for text in _texts(figure)]
    found = [
        f"{one!r} and {other!r} overlap"
        for (one, box), (other, other_box) in itertools.combinations(boxes, 2)
        if box.padded(-1).overlaps(other_box.padded(-1))
    ]
    whole = figure.bbox.padded(1)
    found += [
        f"{text!r} is cut off"
        for text, box in boxes
        if not (whole.x0 <= box.x0 and box.x1 <= whole.x1)
        or not (whole.y0 <= box.y0 and box.y1 <= whole.y1)
    ]
    found += [
        f"{t.get_text()!r} is small"
        for t in _texts(figure)
        if float(t.get_fontsize()) < style.SMALL
    ]
    if abs(figure.get_figwidth() - WIDTH_IN) > 0.01:
        found.append(f"{figure.get_figwidth()} inches wide")
    return found


def strange_colors(svg: str) -> set[str]:
    """Return the colours of the text of an SVG file that are not in the table of the style."""
    known = {shade for _, shade in families.FAMILIES.values()} | {families.OTHER_COLOR}
    return set(_COLOR.findall(svg)) - known - _NEUTRAL


def _texts(figure: Figure) -> Iterator[Text]:
    """Yield the texts that are drawn."""
    hidden: set[Text] = set()
    for axis in figure.findobj(Axis):
        assert isinstance(axis, Axis)
        low, high = sorted(axis.get_view_interval())
        # Ticks outside of the view have labels, which are not drawn.
        drawn = axis.axes.axison and axis.get_visible()
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            is_in = low <= float(tick.get_loc()) <= high
            hidden |= {tick.label2} if drawn and is_in else {tick.label1, tick.label2}
        if not drawn:
            hidden |= {axis.label, axis.offsetText}
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_text().strip() and text.get_visible() and text not in hidden:
            yield text


def _box(text: Text) -> Bbox:
    """Return the place of the letters; that of an annotation contains its arrow, too."""
    if isinstance(text, Annotation):
        return super(Annotation, text).get_window_extent()
    return text.get_window_extent()
