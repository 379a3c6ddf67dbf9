"""The settings of `convoy baseline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from convoy.commands.evaluate.evaluate_settings import DataPart
from convoy.options import Option, Options


class BaselineSettings(Options):
    """
    Measure what images and answers of a model look like: confidence, entropy, classes, brightness,
    contrast and size. `convoy serve --drift` compares the requests with it.

    Use at least 500 images like those that the model will see, and that it was not trained on. The
    result is baseline.json, beside the manifest. PyTorch is not needed.
    """

    examples = (
        ("Measure a model on photographs", "convoy baseline resnet50 --data folder:photos"),
    )

    model: Annotated[str, Option("MODEL", positional=True, has_variable=False)] = Field(
        description="Measure the newest version of this model, or NAME:VERSION."
    )
    data: Annotated[str, Option("DATA")] = Field(
        description="Measure on these images: folder:DIR with one folder per class, or another "
        "data set of `convoy export`."
    )
    part: DataPart | None = Field(
        None,
        description="Measure on this part of the data. If unset: the test part if the data comes "
        "in parts or a model was trained on it, else all images.",
    )
    skip_bad_images: bool = Field(False, description="Leave out images that cannot be decoded.")
    model_repository: Annotated[Path, Option("DIR")] = Field(
        Path("model_repository"), description="Find the model in this folder."
    )
