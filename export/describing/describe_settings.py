"""The options of `convoy describe`. Importing them loads no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, CliImplicitFlag, CliPositionalArg, SettingsConfigDict


class DescribeSettings(BaseSettings):
    """
    Show the layers of a network: sizes, receptive fields, parameters, multiply-accumulates.

    NAME is an architecture, such as resnet50; else a path: an artifact's folder, a model's folder
    (its newest version) or an ONNX file; else a model of the model repository.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="CONVOY_",
        cli_kebab_case=True,
        cli_prog_name="convoy describe",
        cli_shortcuts={"print-json": "json"},
    )

    name: CliPositionalArg[str] = Field(description="Architecture, path, or name of a model.")
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
    model_repository: Path = Field(
        Path("model_repository"), description="Find models in this folder."
    )
    print_json: CliImplicitFlag[bool] = Field(False, description="Print JSON.")
    graph: Path | None = Field(
        None,
        description="Draw the layers into this file: *.dot is text for Graphviz; *.svg, *.png and "
        "*.pdf need its command dot.",
    )
    save: CliImplicitFlag[bool] = Field(
        False,
        description="Write the layers into the artifact, for the server's page; new artifacts have "
        "them.",
    )
