"""The settings of `convoy evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from convoy.commands.connection import ConnectionSettings
from convoy.options import Option

DataPart = Literal["train", "validation", "test", "all"]


class EvaluateSettings(ConnectionSettings):
    """
    Measure how well models classify images whose classes are known: top-1 and top-5 with 95 %
    intervals, precision, recall and F1 of each class, the confusion matrix, and the calibration of
    the probabilities. Two models are compared on the same images by McNemar's test.

    The models are run here, from the repository; with --address or CONVOY_ADDRESS, by a server.
    PyTorch is not needed.
    """

    examples = (
        ("Measure a model on a folder per class", "convoy evaluate lenet5 --data folder:photos"),
        ("Compare two versions", "convoy evaluate lenet5:1 lenet5:2 --data mnist5k"),
    )

    models: Annotated[list[str], Option("MODEL", positional=True)] = Field(
        min_length=1, description="Measure the newest versions of these models, or NAME:VERSION."
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
    by_order: bool = Field(
        False,
        description="Assign the folders, sorted by name, to the classes of the model in their "
        "order, whatever the names are.",
    )
    skip_bad_images: bool = Field(False, description="Leave out images that cannot be decoded.")
    model_repository: Annotated[Path, Option("DIR")] = Field(
        Path("model_repository"), description="Find the models in this folder."
    )
    write: bool = Field(
        False,
        description="Keep the result in evaluation.json beside the manifest, where `convoy "
        "compare` finds it.",
    )
    json_file: Annotated[Path | None, Option("FILE", flag="json")] = Field(
        None, description="Write the results to this file."
    )
    figures: Annotated[Path | None, Option("DIR")] = Field(
        None, description="Draw confusion matrices and reliability curves into this folder."
    )
    format: Literal["png", "svg"] = Field("png", description="Draw figures in this format.")
    timeout_s: float = Field(60.0, gt=0, description="Wait this long for each answer of a server.")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.uses_server and self.write:
            raise ValueError("--write is for the models of a repository; leave out --address")
        return self

    @property
    def uses_server(self) -> bool:
        """Return whether a server runs the models."""
        return "address" in self.model_fields_set
