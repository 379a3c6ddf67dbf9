"""The options of `convoy quantize`. Importing them loads no ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from convoy.artifact.manifest import ModelName
from convoy.options import Location, Option, Options


class QuantizeSettings(Options):
    """
    Make an int8 version of a model, and compare its answers and its speed with float32.

    Give images like those that the model will meet, a few hundred: a folder with --images, or
    images with their classes with --data, which also measures the accuracy. Layers that lose too
    much accuracy in int8 stay in float32. PyTorch is not needed.
    """

    examples = (
        ("Convert a model, and compare its answers", "convoy quantize resnet50 --images photos"),
        ("Compare its accuracy, too", "convoy quantize resnet50 --data folder:photos"),
    )

    model: Annotated[str, Option("MODEL", positional=True, has_variable=False)] = Field(
        description="Convert the newest version of this model, or NAME:VERSION."
    )
    images: Annotated[Path | None, Option("DIR")] = Field(
        None,
        description="Use the images in this folder and in the folders in it. Their classes are "
        "not known.",
    )
    data: Annotated[str | None, Option("DATA")] = Field(
        None,
        description="Use images with their classes: folder:PATH with one folder per class, named "
        "as the labels of the model, or another data set of `convoy export`.",
    )
    by_order: bool = Field(
        False,
        description="Use the folders, sorted by name, as the classes of the model in their "
        "order, whatever their names are.",
    )
    name: Annotated[ModelName | None, Option("NAME")] = Field(
        None, description="Give the int8 model this name. If unset, it is MODEL_int8."
    )
    as_next_version: bool = Field(
        False,
        description="Write the next version of MODEL, or of --name. A server that polls the "
        "repository switches to it.",
    )
    calibration_images: int = Field(
        256, ge=1, description="Find the ranges of the activations with at most this many images."
    )
    test_images: int = Field(
        1000,
        ge=0,
        description="Compare both versions on at most this many images. 0 takes all images.",
    )
    max_accuracy_loss: float = Field(
        0.5,
        ge=0,
        le=100,
        description="Refuse a model that loses more than this many percentage points of accuracy, "
        "with --data.",
    )
    min_agreement: float = Field(
        95,
        ge=0,
        le=100,
        description="Refuse a model that gives fewer than this percentage of the images the same "
        "class as float32, with --images.",
    )
    scheme: Literal["auto", "u8s8", "u8u8", "s8s8"] = Field(
        "auto",
        description="Use these types of activations and weights, unsigned or signed: u8s8 for x86 "
        "with VNNI or AMX, u8u8 for other x86, s8s8 for Arm. auto takes those of this machine.",
    )
    seconds: float = Field(
        5.0,
        ge=0,
        description="Measure the speed of each version for this long. 0 does not measure it.",
    )
    model_repository: Location = Field(
        "model_repository",
        description="Read and write models in this folder, or at this URL of an object store.",
    )

    @field_validator("images", mode="before")
    @classmethod
    def _refuse_nothing(cls, value: Any) -> Any:
        # A path would take the value of an unset variable for the working directory.
        if value == "":
            raise ValueError("the name of the folder is empty")
        return value

    @model_validator(mode="after")
    def _fit_together(self, info: ValidationInfo) -> Self:
        if self.by_order and self.data is None:
            raise ValueError("--by-order is for images with their classes: give --data")
        # Both would leave open on which images the versions are compared.
        if (self.images is None) == (self.data is None):
            raise ValueError(
                "give images to find the ranges of activations with, a few hundred: either "
                "--images FOLDER, or --data folder:PATH with one folder per class"
            )
        # A variable may be meant for other commands.
        flags = (info.context or {}).get("flags", self.model_fields_set)
        if self.data is None and "max_accuracy_loss" in flags:
            raise ValueError(
                "--max-accuracy-loss is for images with their classes: give --data, or bound the "
                "change of the answers with --min-agreement"
            )
        if self.images is None and "min_agreement" in flags:
            raise ValueError("--min-agreement is for --images: with --data, the accuracy decides")
        return self
