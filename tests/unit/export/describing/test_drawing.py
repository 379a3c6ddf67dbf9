"""Drawings are files that other programs open."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="drawing needs matplotlib")

from convoy.artifact.layers import Description, Layer, Window
from convoy.export.describing.drawing import draw
from convoy.export.errors import ExportError

NETWORK = Description(
    "net",
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
        Layer(name="unknown." * 9, kind="unknown", inputs=(1,), output_shape=(3, 8, 8)),
        Layer(name="add", kind="add", inputs=(2, 0), output_shape=(3, 8, 8)),
    ),
)


def test_png(tmp_path: Path) -> None:
    """
    A PNG has an opaque ground and the colours of its boxes.
    """
    draw(NETWORK, tmp_path / "net.png")
    with Image.open(tmp_path / "net.png") as image:
        pixels = image.convert("RGB").getcolors(1 << 20)
        assert image.format == "PNG"
    assert pixels
    colors = {color for _, color in pixels}
    assert {(255, 255, 255), (0xCF, 0xE0, 0xF2), (0xFB, 0xDC, 0xC4), (0xC0, 0x50, 0x4D)} < colors


def test_svg(tmp_path: Path) -> None:
    """
    An SVG is well-formed XML.
    """
    draw(NETWORK, tmp_path / "net.svg")
    assert ElementTree.parse(tmp_path / "net.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("name", "message"), [("net.gif", "is a file \\*.png or"), ("none/net.png", "cannot write")]
)
def test_files_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    """
    Another kind of file, or a folder that is not there, is told in one line.
    """
    with pytest.raises(ExportError, match=message):
        draw(NETWORK, tmp_path / name)
