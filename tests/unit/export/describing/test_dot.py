"""Graphs for Graphviz: their text, and what its command `dot` draws of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from convoy.artifact.layers import Description, Layer, Window
from convoy.export.describing.dot import save_graph, to_dot
from convoy.export.errors import ExportError

STRANGE = 'a "b" \\N <i> &lt; {c|d}\n'

NETWORK = Description(
    STRANGE,
    (
        Layer(name="image", kind="input", inputs=(), output_shape=(3, 8, 8)),
        Layer(
            name="conv",
            kind="conv",
            inputs=(0,),
            output_shape=(3, 8, 8),
            window=Window((3, 3), (1, 1), (1, 1)),
            then=("bn",),
        ),
        Layer(name=STRANGE, kind="unknown", inputs=(1,), output_shape=(3, 8, 8)),
        Layer(name="add", kind="add", inputs=(2, 0), output_shape=(3, 8, 8)),
    ),
)

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def test_text() -> None:
    """
    Each layer is a box with three lines, and each input is an arrow.
    """
    text = to_dot(NETWORK)
    assert r'n1 [label="conv\nconv 3x3 s1 p1\n3x8x8 +bn", fillcolor="#cfe0f2"];' in text
    assert set(re.findall(r"(n\d+) -> (n\d+)", text)) == {
        *(("n0", "n1"), ("n1", "n2"), ("n2", "n3"), ("n0", "n3"))
    }
    assert r'label="a \"b\" \\N <i> &amp;lt; {c|d}?\nunknown\n3x8x8"' in text


def convolution(name: str, side: int, macs: int, channels: int = 32) -> Layer:
    """A convolution of 32 maps of 8x8."""
    return Layer(
        name=name,
        kind="conv",
        inputs=(0,),
        output_shape=(channels, 8, 8),
        window=Window((side, side), (1, 1), (side // 2, side // 2)),
        macs=macs,
    )


def test_kinds_of_convolutions() -> None:
    """
    A depthwise convolution and one in groups say so and have a double frame; one of 1x1 is lighter.
    """
    image = Layer(name="image", kind="input", inputs=(), output_shape=(32, 8, 8))
    plain = convolution("plain", 3, 64 * 32 * 32 * 9)
    depthwise = convolution("depthwise", 3, 64 * 32 * 9)
    grouped = convolution("grouped", 3, 64 * 32 * 8 * 9)
    pointwise = convolution("pointwise", 1, 64 * 16 * 32, channels=16)
    network = Description("net", (image, plain, depthwise, grouped, pointwise))
    assert [network.groups(layer) for layer in network.layers] == [1, 1, 32, 4, 1]
    text = to_dot(network)
    assert r'[label="plain\nconv 3x3 s1 p1\n32x8x8", fillcolor="#cfe0f2"];' in text
    assert r'"depthwise\ndepthwise conv 3x3 s1 p1\n32x8x8", fillcolor="#cfe0f2", per' in text
    assert r'"grouped\nconv in 4 groups, 3x3 s1 p1\n32x8x8", fillcolor="#cfe0f2", per' in text
    assert r'[label="pointwise\nconv 1x1 s1 p0\n16x8x8", fillcolor="#e9f1fa"];' in text


def test_long_names_break() -> None:
    """
    The long names of exported graphs continue in another line, and lose no letter.
    """
    name = "/features/features.1/conv/conv.0/conv.0.0/Conv"
    layer = Layer(name=name, kind="conv", inputs=(), output_shape=(3, 8, 8))
    text = to_dot(Description("net", (layer,)))
    assert r'"/features/features.1/conv/\nconv.0/conv.0.0/Conv\nconv\n3x8x8"' in text


def test_text_in_a_file(tmp_path: Path) -> None:
    """
    The text needs no Graphviz.
    """
    save_graph(NETWORK, tmp_path / "net.dot")
    assert (tmp_path / "net.dot").read_text(encoding="utf-8") == to_dot(NETWORK)


@needs_dot
def test_svg(tmp_path: Path) -> None:
    """
    An SVG shows every text as it is, and an arrow for each input.
    """
    save_graph(NETWORK, tmp_path / "net.svg")
    root = ElementTree.parse(tmp_path / "net.svg").getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count(STRANGE.replace("\n", "?")) == 2
    groups = [element.get("class") for element in root.iter("{http://www.w3.org/2000/svg}g")]
    assert (groups.count("node"), groups.count("edge")) == (4, 4)


@needs_dot
def test_png_and_pdf(tmp_path: Path) -> None:
    """
    The file's name chooses the format; boxes have the colours of their kinds.
    """
    save_graph(NETWORK, tmp_path / "net.pdf")
    assert (tmp_path / "net.pdf").read_bytes().startswith(b"%PDF")
    save_graph(NETWORK, tmp_path / "net.png")
    with Image.open(tmp_path / "net.png") as image:
        pixels = image.convert("RGB").getcolors(1 << 20)
        assert image.format == "PNG"
    assert pixels
    assert {(0xCF, 0xE0, 0xF2), (0xFB, 0xDC, 0xC4)} < {color for _, color in pixels}


def test_without_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without the command, the message says what to install, and the way without it.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match=r"install the package graphviz, or write .*net\.dot"):
        save_graph(NETWORK, tmp_path / "net.png")
    assert not list(tmp_path.iterdir())


def test_graphviz_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The error that the command prints is part of the message.
    """
    command = tmp_path / "dot"
    command.write_text("#!/bin/sh\necho 'Format: \"png\"\nnot recognized' >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match=r'net\.png: dot failed: Format: "png" not recognized$'):
        save_graph(NETWORK, tmp_path / "net.png")
    assert not (tmp_path / "net.png").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("net.gif", r"choose one of \*\.dot, \*\.svg, \*\.png, \*\.pdf$"),
        ("none/net.dot", "cannot write .*: No such file or directory"),
    ],
)
def test_files_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    """
    Another kind of file, or a missing folder, gives one line.
    """
    with pytest.raises(ExportError, match=message):
        save_graph(NETWORK, tmp_path / name)
