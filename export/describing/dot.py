"""A description as a Graphviz graph: a box per layer, coloured by its kind.

Convolutions differ in their boxes: one with groups of channels has a double frame, one of 1x1 a
lighter colour.

Graphviz places the boxes; its command `dot` draws them.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from convoy.artifact.layers import CONVOLUTION, LINEAR, Description, Layer
from convoy.export.describing.presentation import in_words, short_name, size, window
from convoy.export.errors import ExportError
from convoy.export.whole_files import replacing

TEXT_SUFFIX = ".dot"
DRAWN_SUFFIXES = (".svg", ".png", ".pdf")

_TIMEOUT_S = 300

_NAME_LETTERS = 30
"""Letters of a name in a line; a longer one continues in the next."""

_OTHER, _POINTWISE = "#ededed", "#e9f1fa"
_COLORS = {
    CONVOLUTION: "#cfe0f2",
    LINEAR: "#dcd3ec",
    **dict.fromkeys(("max pool", "avg pool", "global max pool", "global avg pool"), "#d5ead0"),
    **dict.fromkeys(("bn", "lrn"), "#fdf0c4"),
    **dict.fromkeys(("add", "concat"), "#fbdcc4"),
}

_STYLE = """\
  graph [labelloc=t, fontname="Helvetica", fontsize=14, nodesep=0.2, ranksep=0.25];
  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=10, height=0.3];
  edge [arrowsize=0.6];
"""


def save_graph(description: Description, path: Path) -> None:
    """
    Write *description* to *path*: as DOT text if its name ends in `.dot`, else as drawn by `dot`.

    Raises:
        ExportError: If the name ends otherwise, `dot` is missing or fails, or *path* cannot be
            written.
    """
    # Before anything is drawn: the format follows from the name.
    if path.suffix not in (TEXT_SUFFIX, *DRAWN_SUFFIXES):
        known = f"{TEXT_SUFFIX}, *{', *'.join(DRAWN_SUFFIXES)}"
        raise ExportError(f"{path}: unsupported file type; choose one of *{known}")
    content = to_dot(description).encode()
    if path.suffix != TEXT_SUFFIX:
        content = _draw(content, path)
    with replacing(path) as half:
        half.write_bytes(content)


def _draw(text: bytes, path: Path) -> bytes:
    command = ["dot", f"-T{path.suffix.removeprefix('.')}"]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, check=False, timeout=_TIMEOUT_S
        )
    except FileNotFoundError as error:
        raise ExportError(
            f"{path}: drawing needs Graphviz's command dot; install the package graphviz, or "
            f"write {path.with_suffix(TEXT_SUFFIX)} and draw it elsewhere"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"{path}: dot has not finished after {_TIMEOUT_S} s; write "
            f"{path.with_suffix(TEXT_SUFFIX)} and draw it with another of Graphviz's commands"
        ) from error
    if done.returncode:
        message = " ".join(done.stderr.decode(errors="replace").split())
        raise ExportError(f"{path}: dot failed: {message}")
    return done.stdout


def to_dot(description: Description) -> str:
    """Return *description* in the DOT language, one line for each layer and each connection."""
    totals = f"{description.parameters:,} parameters, MACs: {in_words(description)}"
    lines = [f"  label={_quoted(description.name, totals)};"]
    for place, layer in enumerate(description.layers):
        lines.append(f"  n{place} [{_look(layer, description)}];")
        lines += [f"  n{before} -> n{place};" for before in layer.inputs]
    return "\n".join(["digraph {", _STYLE.rstrip(), *lines, "}", ""])


def _look(layer: Layer, description: Description) -> str:
    """Return the attributes of a box: its lines, its colour, and its frame."""
    groups = description.groups(layer)
    kind = layer.kind
    if groups > 1:
        is_depthwise = groups == description.layers[layer.inputs[0]].output_shape[0]
        kind = f"depthwise {kind}" if is_depthwise else f"{kind} in {groups} groups,"
    operation = f"{kind} {window(layer.window)}" if layer.window else kind
    output = " +".join((size(layer.output_shape), *layer.then))
    label = _quoted(*_broken(short_name(layer)), operation, output)
    frame = ", peripheries=2" if groups > 1 else ""
    return f'label={label}, fillcolor="{_color(layer)}"{frame}'


def _color(layer: Layer) -> str:
    is_pointwise = layer.window is not None and max(layer.window.kernel) == 1
    if layer.kind == CONVOLUTION and is_pointwise:
        return _POINTWISE
    return _COLORS.get(layer.kind, _OTHER)


def _broken(name: str) -> list[str]:
    """Return the lines of a name, which break after the separators of its parts."""
    lines = [""]
    for part in re.split(r"(?<=[/.])", name):
        if lines[-1] and len(lines[-1]) + len(part) > _NAME_LETTERS:
            lines.append("")
        lines[-1] += part
    return lines


def _quoted(*lines: str) -> str:
    r"""
    Return *lines*, centred, as one string of the DOT language.

    Only a quote ends a string. A backslash begins one of Graphviz's own escapes, such as `\N` for
    the name of the node; an ampersand begins an entity of HTML.
    """
    return '"' + r"\n".join(_escaped(line) for line in lines) + '"'


def _escaped(line: str) -> str:
    printable = "".join(letter if letter.isprintable() else "?" for letter in line)
    for letter, escape in (("\\", r"\\"), ('"', r"\""), ("&", "&amp;")):
        printable = printable.replace(letter, escape)
    return printable
