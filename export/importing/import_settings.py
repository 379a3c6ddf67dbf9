"""The options of `convoy import`. Importing them loads no ONNX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from convoy.artifact.manifest import Fill, Interpolation, ModelName, Side
from convoy.options import Option, Options, Separated


def _height_and_width(value: Any) -> Any:
    """Return height and width of `224` or `240x320`; a flag comes as a list of one text."""
    text = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(text, tuple):
        return text
    if not re.fullmatch(r"[1-9][0-9]{0,4}(x[1-9][0-9]{0,4})?", str(text)):
        raise ValueError(f"{text!r} is not a size in pixels: expected one such as 224 or 240x320")
    height, _, width = str(text).partition("x")
    return height, width or height


def _side_or_size(value: Any) -> Any:
    """Return the one number of `256`, or height and width of `240x320`."""
    text = value[0] if isinstance(value, list) and len(value) == 1 else value
    return _height_and_width(text) if "x" in str(text) else text


Size = Annotated[tuple[int, int], BeforeValidator(_height_and_width)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Means = Annotated[tuple[Number, ...], Separated]
Deviations = Annotated[tuple[Annotated[Number, Field(gt=0)], ...], Separated]
SideOrSize = Annotated[Side | tuple[Side, Side], BeforeValidator(_side_or_size)]
Color = Annotated[Fill, Separated]
Paths = Annotated[tuple[Path, ...], Separated]


class ImportSettings(Options):
    """
    Make an artifact of an ONNX classifier that was trained elsewhere; PyTorch is not needed.

    The server gives a graph of floats (pixel / 255 - mean) / std, per channel, in the order of
    --color. For one that takes floats of 0 to 255: --normalization graph. Means and deviations that
    are stated for 0 to 255, such as 123.675 and 58.395, are divided by 255: 0.485 and 0.229.

    Each option is also a variable: --model-repository is CONVOY_MODEL_REPOSITORY.
    """

    file: Annotated[Path, Option("FILE", positional=True)] = Field(description="The ONNX file.")
    labels: Annotated[Path | None, Option("FILE")] = Field(
        None,
        description="Names of the classes, one per line; or a file *.json: a list, a map from "
        "index to label or [identifier, label] or from label to index, or the config.json of "
        'transformers or timm. "class 0" and so on if none are given or found.',
    )
    metadata: bool = Field(
        True,
        description="Take labels and preprocessing that are not given here from the metadata of "
        "the file (Ultralytics, Custom Vision) and from files next to it: "
        "preprocessor_config.json and config.json (transformers, timm), labels.txt and the like.",
    )
    name: Annotated[ModelName | None, Option("NAME")] = Field(
        None, description="Name of the model; made of the file's name if it is not given."
    )
    resize: Annotated[SideOrSize | None, Option("SIZE")] = Field(
        None,
        description="Size after resizing: 256 for the shorter side, or HEIGHTxWIDTH. The size of "
        "the crop if it is not given.",
    )
    resize_mode: Literal["crop", "squash", "letterbox"] | None = Field(
        None,
        description="crop: resize the shorter side and cut the centre out. squash: resize height "
        "and width, whatever the image's ratio. letterbox: keep the ratio and the whole image, and "
        "fill the rest. crop if it is not given, but squash if --resize is HEIGHTxWIDTH.",
    )
    crop: Annotated[Size | None, Option("SIZE")] = Field(
        None,
        description="Centre crop, 224 or HEIGHTxWIDTH; what the graph takes if it is not given.",
    )
    crop_offset: Literal["even", "down"] = Field(
        "even",
        description="Round half a pixel of the crop's offset: to the even number, as torchvision, "
        "or down, as transformers.",
    )
    pad: int = Field(0, ge=0, le=1024, description="Black pixels on each side after the crop.")
    fill: Annotated[Color, Option("VALUE")] = Field(
        (0,),
        description="Colour around a letterbox, 0 to 255: one number, or one per channel.",
    )
    interpolation: Interpolation = Field(
        "bilinear", description="Resize with this filter of Pillow's."
    )
    antialias: bool = Field(
        True,
        description="Average over all pixels of the image where it shrinks, as Pillow does; "
        "--no-antialias is for networks trained with OpenCV, tf.image, or tensors in PyTorch.",
    )
    color: Literal["RGB", "BGR", "L"] | None = Field(
        None, description="Order of the channels; L is grey. RGB or L if it is not given."
    )
    mean: Annotated[Means, Option("NUMBER")] = Field(
        (0.0,), description="Subtract this from pixels of 0 to 1: one number, or one per channel."
    )
    std: Annotated[Deviations, Option("NUMBER")] = Field(
        (1.0,), description="Divide by this then: one number, or one per channel."
    )
    normalization: Literal["server", "graph"] | None = Field(
        None,
        description="Normalise in the server, by --mean and --std, or in the graph, which then "
        "gets 0 to 255. The server by default, unless the input is uint8 or the graph begins with "
        "a normalisation of 0 to 255.",
    )
    layout: Literal["NCHW", "NHWC"] | None = Field(
        None, description="Order of the dimensions, where the graph's shape does not show it."
    )
    output: Annotated[str | None, Option("NAME")] = Field(
        None,
        description="Output with the scores, if there are several; or a tensor inside the graph.",
    )
    scores: Literal["logits", "probabilities", "independent", "independent-logits"] | None = Field(
        None,
        description="Kind of the scores; found by the graph's last operators if it is not given. "
        "logits go through softmax; probabilities are of one class per image; independent ones "
        "are of any number of labels per image (multi-label), and independent-logits get a "
        "sigmoid.",
    )
    max_batch_size: int | None = Field(
        None, ge=1, le=1024, description="Most images in a batch; 32 if the graph takes any."
    )
    golden: Annotated[Paths, Option("PATH")] = Field(
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
    architecture: Annotated[str, Option("NAME")] = Field(
        "imported", description="Name of the network, for the record."
    )
    source: str | None = Field(
        None, description="Origin of the network, for the record; the file if it is not given."
    )
    model_repository: Annotated[Path, Option("DIR")] = Field(
        Path("model_repository"), description="Write artifacts here."
    )
