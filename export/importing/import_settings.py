"""The options of `convoy import`. Importing them loads no ONNX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from convoy.artifact.manifest import Fill, Interpolation, ModelName, Side
from convoy.options import Location, Option, Options, Separated


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


class _Common(Options):
    """The classes, and the place of the model."""

    panel = "Common"

    labels: Annotated[Path | None, Option("FILE")] = Field(
        None,
        description="Read the names of the classes from this file: one per line, a *.csv file "
        "with an index and a label in each row, or a *.json file with a list, a map from index to "
        "label or [identifier, label], a map from label to index, or the config.json of "
        'transformers or timm. If no names are given or found, they are "class 0" and so on.',
    )
    metadata: bool = Field(
        True,
        description="Take labels and preprocessing that are not given here from the metadata of "
        "the file (Ultralytics, Custom Vision) and from files next to it: "
        "preprocessor_config.json and config.json (transformers, timm), MLmodel (MLflow), "
        "labels.txt and similar.",
    )
    data: Annotated[str | None, Option("DATA")] = Field(
        None,
        description="Measure the baseline for `convoy serve --drift` on these images: folder:DIR "
        "with one folder per class, or the test part of another data set of `convoy export`. Use "
        "at least 500 images that the network was not trained on.",
    )
    name: Annotated[ModelName | None, Option("NAME")] = Field(
        None,
        description="Give the model this name. If unset, it is made from the name of the file.",
    )
    model_repository: Location = Field(
        "model_repository",
        description="Write the model to this folder, or to this URL of an object store.",
    )


class _Preprocessing(Options):
    """The way from an image to the input of the graph."""

    panel = "Preprocessing"

    resize: Annotated[SideOrSize | None, Option("SIZE")] = Field(
        None,
        description="Resize the image to this: 256 for its shorter side, or HEIGHTxWIDTH. If "
        "unset, to the size of --crop.",
    )
    resize_mode: Literal["crop", "squash", "letterbox"] | None = Field(
        None,
        description="Resize in this way. crop: resize the shorter side, then cut out the centre. "
        "squash: resize height and width, whatever the ratio. letterbox: keep the ratio and the "
        "whole image, and fill the rest. If unset: squash if --resize is HEIGHTxWIDTH, else "
        "crop.",
    )
    crop: Annotated[Size | None, Option("SIZE")] = Field(
        None,
        description="Cut out the centre with this size: 224, or HEIGHTxWIDTH. If unset, the size "
        "that the graph takes.",
    )
    crop_offset: Literal["even", "down"] = Field(
        "even",
        description="Round half a pixel of the crop's offset to the even number, as torchvision "
        "does, or down, as transformers does.",
    )
    pad: int = Field(
        0, ge=0, le=1024, description="Add this many black pixels on each side after the crop."
    )
    fill: Annotated[Color, Option("VALUE")] = Field(
        (0,),
        description="Fill around a letterbox with this colour, from 0 to 255: one number, or one "
        "per channel.",
    )
    interpolation: Interpolation = Field(
        "bilinear", description="Resize with this filter of Pillow."
    )
    antialias: bool = Field(
        True,
        description="Average over all pixels when an image shrinks, as Pillow does. Use "
        "--no-antialias for networks that were trained with OpenCV, tf.image, or tensors in "
        "PyTorch.",
    )
    scaled_decoding: bool = Field(
        True,
        description="Decode large JPEGs at 1/2, 1/4 or 1/8 of their size, but with sides at least "
        "twice as long as after resizing. --no-scaled-decoding decodes all of them in full size, "
        "which takes several times as long for photographs; so do --no-antialias and "
        "--interpolation nearest.",
    )
    color: Literal["RGB", "BGR", "L"] | None = Field(
        None,
        description="Give the graph its channels in this order. L is grey. If unset, RGB for "
        "three channels and L for one.",
    )
    mean: Annotated[Means, Option("NUMBER")] = Field(
        (0.0,),
        description="Subtract this mean from pixels of 0 to 1: one number, or one per channel.",
    )
    std: Annotated[Deviations, Option("NUMBER")] = Field(
        (1.0,),
        description="Then divide by this standard deviation: one number, or one per channel.",
    )
    normalization: Literal["server", "graph"] | None = Field(
        None,
        description="Normalize in the server, with --mean and --std, or in the graph, which then "
        "gets pixels of 0 to 255. If unset: in the graph if its input is uint8 or it begins with "
        "a normalization of 0 to 255, else in the server.",
    )


class _Graph(Options):
    """The input and output of the graph, where it does not state them."""

    panel = "Graph"

    layout: Literal["NCHW", "NHWC"] | None = Field(
        None,
        description="State the order of the dimensions, if the graph's shape does not show it.",
    )
    output: Annotated[str | None, Option("NAME")] = Field(
        None,
        description="Use this output for the scores, if the graph has several, or this tensor "
        "inside the graph.",
    )
    scores: Literal["logits", "probabilities", "independent", "independent-logits"] | None = Field(
        None,
        description="State the kind of the scores. logits go through a softmax. probabilities are "
        "of one class per image. independent ones are of any number of labels per image. "
        "independent-logits go through a sigmoid. If unset, the last operators of the graph "
        "decide.",
    )
    max_batch_size: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Limit a batch to this many images. If unset, 32 for a graph that takes any "
        "number.",
    )


class _Proof(Options):
    """The proof that the graph runs here as it should."""

    panel = "Proof"

    golden: Annotated[Paths, Option("PATH")] = Field(
        (),
        description="Verify the graph with these images, and the images in these folders. If "
        "unset, with generated images.",
    )
    golden_tolerance: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Allow this difference from the answers without optimizations, as a share of "
        "their range. If unset: 1e-4 for float32, 1e-2 for float16, 3e-2 for int8.",
    )


class _Record(Options):
    """Notes in the manifest."""

    panel = "Record"

    architecture: Annotated[str, Option("NAME")] = Field(
        "imported", description="Record this name of the network in the manifest."
    )
    source: str | None = Field(
        None,
        description="Record this origin of the network in the manifest. If unset, the name of the "
        "file.",
    )


class ImportSettings(_Common, _Preprocessing, _Graph, _Proof, _Record):
    """
    Make a model from an ONNX classifier that was trained elsewhere.

    The server gives a graph of floats (pixel / 255 - mean) / std for each channel, in the order of
    --color. A graph that takes floats of 0 to 255 needs --normalization graph. Divide a mean and a
    deviation that are stated for 0 to 255 by 255: 123.675 and 58.395 are 0.485 and 0.229.
    """

    examples = (
        ("Use what the file and the files next to it state", "convoy import resnet50.onnx"),
        (
            "State labels and preprocessing",
            "convoy import net.onnx --labels classes.txt \\\n"
            "      --resize 256 --crop 224 \\\n"
            "      --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
        ),
        (
            "Verify the graph with your own images",
            "convoy import net.onnx --golden cat.jpg,dog.jpg",
        ),
    )

    file: Annotated[Path, Option("FILE", positional=True)] = Field(
        description="Import this ONNX file, or the folder of a model that MLflow logged."
    )
