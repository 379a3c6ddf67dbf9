"""The table for people and the JSON for programs."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from convoy.artifact.layers import Description, Layer, Window
from convoy.export.describing.presentation import WIDEST, print_table, to_json
from convoy.export.describing.rows import make_rows

NETWORK = Description(
    "net version 3",
    make_rows(
        [
            Layer(name="image", kind="input", inputs=(), output_shape=(3, 224, 224)),
            Layer(
                name="features.4.branch1.conv",
                kind="conv",
                inputs=(0,),
                output_shape=(1024, 112, 224),
                window=Window((1, 7), (2, 1), (0, 3), (2, 2)),
                parameters=131_104,
                arithmetic="(1*7*3 + 1) * 1024 + 2*1024",
                macs=231_211_008,
            ),
            Layer(name="norm", kind="bn", inputs=(1,), output_shape=(1024, 112, 224)),
            Layer(name="relu", kind="relu", inputs=(2,), output_shape=(1024, 112, 224)),
            Layer(
                name="fc",
                kind="linear",
                inputs=(3,),
                output_shape=(10,),
                parameters=850,
                arithmetic="(84 + 1) * 10",
                macs=840,
            ),
        ]
    ),
    trained_parameters=132_000,
)


def printed(width: int) -> str:
    output = io.StringIO()
    print_table(NETWORK, Console(file=output, width=width))
    return output.getvalue()


def test_table() -> None:
    """
    One line per layer, and the totals; a module's convolution has the module's name.
    """
    lines = [line.split() for line in printed(WIDEST).splitlines()]
    assert lines[0] == ["layer", "kind", "output", "kernel", "field", "parameters", "MACs"]
    assert lines[1] == ["image", "input", "3x224x224", "1"]
    assert " ".join(lines[2]) == (
        "features.4.branch1 conv+bn+relu 1024x112x224 1x7 s2x1 p0x3 d2 1x13 "
        "(1*7*3 + 1) * 1024 + 2*1024 = 131,104 231.2 M"
    )
    assert " ".join(lines[3]) == "fc linear 10 all (84 + 1) * 10 = 850 840"
    totals = {line[0]: " ".join(line[1:]) for line in lines[5:]}
    assert totals["network"] == "net version 3"
    assert totals["layers"] == "1 convolutions, 1 linear; 2 on the longest path"
    assert totals["parameters"] == "131,954 (132,000 as it was trained)"
    assert totals["MACs"] == "231,211,848 for one image"


@pytest.mark.parametrize("width", [100, 60])
def test_narrow_table_loses_nothing(width: int) -> None:
    """
    Cells break where the terminal is too narrow; no letter is left out.
    """
    text = printed(width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    wide = sorted(printed(WIDEST).replace(" ", "").replace("\n", ""))
    assert sorted(text.replace(" ", "").replace("\n", "")) == wide


def test_json_round_trip() -> None:
    """
    The layers can be made again of what a program reads.
    """
    read = json.loads(to_json(NETWORK))
    groups = [fields.pop("groups") for fields in read["layers"]]
    assert groups == [NETWORK.groups(layer) for layer in NETWORK.layers]
    assert tuple(map(_layer, read.pop("layers"))) == NETWORK.layers
    assert read == {
        "name": "net version 3",
        "parameters": 131_954,
        "trained_parameters": 132_000,
        "multi_label": None,
        "macs": 231_211_848,
        "not_counted": [],
        "convolutions": 1,
        "linear_layers": 1,
        "depth": 2,
    }


def _layer(fields: dict[str, Any]) -> Layer:
    """A layer of what JSON keeps of it: lists are tuples."""
    if window := fields["window"]:
        fields["window"] = Window(*map(tuple, window.values()))
    for key, value in fields.items():
        if isinstance(value, list):
            fields[key] = tuple(value)
    return Layer(**fields)
