"""The options of `convoy describe`. Importing them loads no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from convoy.options import Option, Options


class DescribeSettings(Options):
    """
    Show the layers of a network: sizes, receptive fields, parameters, multiply-accumulates.

    NAME is a network such as resnet50; or the path of an ONNX file, of a model's folder (for its
    newest version) or of a version's folder; or a model of the model repository.
    """

    examples = (
        ("Describe a network", "convoy describe resnet50"),
        ("Draw the layers of an ONNX file", "convoy describe net.onnx --graph net.svg"),
    )

    name: Annotated[str, Option("NAME", positional=True)] = Field(
        description="Describe this network, file, folder or model."
    )
    classes: int | None = Field(
        None,
        ge=1,
        description="Build a network for this many classes, instead of its own number.",
    )
    input_px: int | None = Field(
        None,
        ge=1,
        description="Describe a network, or an ONNX file that takes any size, for square images "
        "with this side.",
    )
    layout: Literal["NCHW", "NHWC"] | None = Field(
        None,
        description="State the order of the dimensions of an ONNX file whose shape does not show "
        "it.",
    )
    color: Literal["RGB", "L"] | None = Field(
        None,
        description="State the channels of an ONNX file that takes any number of them: RGB is 3, "
        "L is 1.",
    )
    model_repository: Annotated[Path, Option("DIR")] = Field(
        Path("model_repository"), description="Find models in this folder."
    )
    print_json: Annotated[bool, Option(flag="json")] = Field(False, description="Print JSON.")
    graph: Annotated[Path | None, Option("FILE")] = Field(
        None,
        description="Draw the layers into this file. *.dot is text for Graphviz. *.svg, *.png and "
        "*.pdf need Graphviz's command dot.",
    )
    save: bool = Field(
        False,
        description="Write the layers into the model's folder, for the server's page. Newly made "
        "models have them already.",
    )
