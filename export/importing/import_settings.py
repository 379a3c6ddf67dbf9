"""The options of `convoy import`. Importing them loads no ONNX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, CliPositionalArg, NoDecode, SettingsConfigDict

from convoy.artifact.manifest import ModelName


def _parts(value: Any) -> Any:
    """Return the parts of `a,b`, as a flag or a variable gives it."""
    return value.split(",") if isinstance(value, str) else value


def _height_and_width(value: Any) -> Any:
    """Return height and width of `224` or `240x320`; a flag comes as a list of one text."""
    text = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(text, tuple):
        return text
    if not re.fullmatch(r"[1-9][0-9]{0,4}(x[1-9][0-9]{0,4})?", str(text)):
        raise ValueError(f"{text!r} is no size in pixels such as 224 or 240x320")
    height, _, width = str(text).partition("x")
    return height, width or height


Size = Annotated[tuple[int, int], NoDecode, BeforeValidator(_height_and_width)]
Means = Annotated[tuple[float, ...], NoDecode, BeforeValidator(_parts)]
Deviations = Annotated[tuple[Annotated[float, Field(gt=0)], ...], NoDecode, BeforeValidator(_parts)]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_parts)]


class ImportSettings(BaseSettings):
    """
    Make an artifact of an ONNX classifier that was trained elsewhere; PyTorch is not needed.

    The server gives a graph of floats (pixel / 255 - mean) / std, per channel, in the order of
    --color. For one that takes floats of 0 to 255: --mean 0 --std 0.00392156862745098 (1/255).

    Each option is also a variable: --model-repository is CONVOY_MODEL_REPOSITORY.
    """

    model_config = SettingsConfigDict(
        frozen=True, env_prefix="CONVOY_", cli_kebab_case=True, cli_prog_name="convoy import"
    )

    file: CliPositionalArg[Path] = Field(description="The ONNX file.")
    labels: Path | None = Field(
        None,
        description="Names of the classes, one per line; or a file *.json: a list, or a map from "
        'index to label or [identifier, label]. "class 0" and so on if it is not given.',
    )
    name: ModelName | None = Field(
        None, description="Name of the model; made of the file's name if it is not given."
    )
    resize: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Shorter side after resizing; the longer side of the crop if it is not given.",
    )
    crop: Size | None = Field(
        None,
        description="Centre crop, 224 or HEIGHTxWIDTH; what the graph takes if it is not given.",
    )
    pad: int = Field(0, ge=0, le=1024, description="Black pixels on each side after the crop.")
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = Field(
        "bilinear", description="Resize with this filter; always antialiased."
    )
    color: Literal["RGB", "BGR", "L"] | None = Field(
        None, description="Order of the channels; L is grey. RGB or L if it is not given."
    )
    mean: Means = Field(
        (0.0,), description="Subtract this from pixels of 0 to 1: one number, or one per channel."
    )
    std: Deviations = Field(
        (1.0,), description="Divide by this then: one number, or one per channel."
    )
    normalization: Literal["server", "graph"] | None = Field(
        None,
        description="Apply --mean and --std in the server, or in the graph, which then gets 0 "
        "to 255. The server by default, but for uint8 always the graph.",
    )
    layout: Literal["NCHW", "NHWC"] | None = Field(
        None, description="Order of the dimensions, where the graph's shape does not show it."
    )
    output: str | None = Field(None, description="Output with the scores, if there are several.")
    scores: Literal["logits", "probabilities"] | None = Field(
        None, description="Kind of the scores; found with test images if it is not given."
    )
    max_batch_size: int | None = Field(
        None, ge=1, le=1024, description="Most images in a batch; 32 if the graph takes any."
    )
    golden: Paths = Field(
        (),
        description="Images, or folders of them, to prove with, with commas between; invented ones "
        "if it is not given.",
    )
    golden_tolerance: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Allowed difference from the answers without optimisations, as a share of "
        "their range: 1e-4 for float32, 1e-2 for float16, 3e-2 for int8.",
    )
    architecture: str = Field("imported", description="Name of the network, for the record.")
    source: str | None = Field(
        None, description="Origin of the network, for the record; the file if it is not given."
    )
    model_repository: Path = Field(Path("model_repository"), description="Write artifacts here.")
