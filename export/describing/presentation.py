"""A description as a table for people, and as JSON for programs."""

from __future__ import annotations

import json

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from convoy.artifact.layers import CONVOLUTION, LINEAR, Description, Layer, Window

WIDEST = 10_000
"""Columns of a console on which no cell breaks."""


def to_json(description: Description) -> str:
    """Return `Description.as_dict` as indented JSON."""
    return json.dumps(description.as_dict(), indent=2)


def print_table(description: Description, console: Console) -> None:
    """Print a row per layer, and the totals; cells break where *console* is too narrow."""
    table = Table(
        *(Column(name, overflow="fold") for name in ("layer", "kind", "output", "kernel")),
        *(
            Column(name, justify="right", overflow="fold")
            for name in ("field", "parameters", "MACs")
        ),
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for layer in description.layers:
        table.add_row(*map(Text, _cells(layer)))
    _fit(table, console)
    console.print(table)
    console.print()
    for name, total in _totals(description).items():
        console.print(f"{name:12}{total}")


def _fit(table: Table, console: Console) -> None:
    """Let kinds and names break, which are read least, before rich breaks the widest column."""

    def excess() -> int:
        options = console.options.update(width=WIDEST)
        return Measurement.get(console, options, table).maximum - console.width

    names, kinds, *_ = table.columns
    # First the columns move together and kinds break; only then do names.
    if excess() > 0:
        table.padding = (0, 1, 0, 0)
        kinds.max_width = len("conv+bn+relu")
    if excess() > 0:
        longest = max(len(str(name)) for name in names.cells)
        names.max_width = max(longest - excess(), len("layer1.0.conv1"))


def _cells(layer: Layer) -> tuple[str, ...]:
    return (
        short_name(layer),
        "+".join((layer.kind, *layer.then)),
        size(layer.output_shape),
        window(layer.window) if layer.window else "",
        size(layer.receptive_field_px) if layer.receptive_field_px else "all",
        f"{layer.arithmetic} = {layer.parameters:,}" if layer.parameters else "",
        _macs(layer),
    )


def _macs(layer: Layer) -> str:
    if not layer.is_counted:
        return "not counted"
    return _in_millions(layer.macs) if layer.macs else ""


def _in_millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count >= 1e6 else f"{count:,}"


def _totals(description: Description) -> dict[str, str]:
    parameters, trained = description.parameters, description.trained_parameters
    unknown = "; beside those that are not counted" if description.not_counted else ""
    # Folded batch norms make the difference.
    note = "" if trained in (None, parameters) else f" ({trained:,} as it was trained)"
    kinds = {False: "one of them for each image", True: "any number for each image (multi-label)"}
    scores = (
        {} if description.is_multi_label is None else {"classes": kinds[description.is_multi_label]}
    )
    return {
        "network": description.name,
        **scores,
        "layers": f"{description.count(CONVOLUTION)} convolutions, "
        f"{description.count(LINEAR)} linear; {description.depth} on the longest path{unknown}",
        "parameters": f"{parameters:,}{note}",
        "MACs": in_words(description),
        "kernel": "size, stride s, padding p",
        "field": "receptive field of one number of the output, in pixels of the image",
    }


def in_words(description: Description) -> str:
    """Return the multiply-accumulates, or the kinds of layers for which they are not known."""
    if description.macs is None:
        return f"not counted: {', '.join(description.not_counted)}"
    return f"{description.macs:,} for one image"


def short_name(layer: Layer) -> str:
    """Return the name of *layer*; the convolution in a block has the block's own name."""
    return layer.name.removesuffix(".conv")


def size(lengths: tuple[int, ...]) -> str:
    """Return *lengths* as `64x56x56`; of a square only its side."""
    square = len(lengths) == 2 and lengths[0] == lengths[1]
    return str(lengths[0]) if square else "x".join(map(str, lengths))


def window(value: Window) -> str:
    """Return *value* as `3x3 s2 p1`: kernel, stride, padding, and dilation where there is one."""
    kernel = "x".join(map(str, value.kernel))
    text = f"{kernel} s{size(value.stride)} p{size(value.padding)}"
    return text if max(value.dilation) == 1 else f"{text} d{size(value.dilation)}"
