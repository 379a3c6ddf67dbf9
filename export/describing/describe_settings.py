"""The options of `convoy describe`. Importing them loads no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from convoy.options import Option, Options


class DescribeSettings(Options):
    """
    Show the layers of a network: sizes, receptive fields, parameters, multiply-accumulates.

    NAME is an architecture, such as resnet50; else a path: an artifact's folder, a model's folder
    (its newest version) or an ONNX file; else a model of the model repository.
    """

    name: Annotated[str, Option("NAME", positional=True)] = Field(
        description="Architecture, path, or name of a model."
    )
    classes: int | None = Field(
        None,
        ge=1,
        description="Build an architecture for so many classes instead of its own number.",
    )
    input_px: int | None = Field(
        None,
        ge=1,
        description="Describe the network for square images with this side; for an architecture, "
        "and for an ONNX file that takes any size.",
    )
    layout: Literal["NCHW", "NHWC"] | None = Field(
        None,
        description="Order of the dimensions of an ONNX file whose shape does not show it.",
    )
    color: Literal["RGB", "L"] | None = Field(
        None, description="Channels of an ONNX file that takes any number: 3 or 1."
    )
    model_repository: Annotated[Path, Option("DIR")] = Field(
        Path("model_repository"), description="Find models in this folder."
    )
    print_json: Annotated[bool, Option(flag="json")] = Field(False, description="Print JSON.")
    graph: Annotated[Path | None, Option("FILE")] = Field(
        None,
        description="Draw the layers into this file: *.dot is text for Graphviz; *.svg, *.png and "
        "*.pdf need its command dot.",
    )
    save: bool = Field(
        False,
        description="Write the layers into the artifact, for the server's page; new artifacts have "
        "them.",
    )
