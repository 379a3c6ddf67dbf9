"""The settings of `convoy classify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from convoy.commands.connection import ConnectionSettings
from convoy.defaults import TIMEOUT_S
from convoy.options import Option


class ClassifySettings(ConnectionSettings):
    """
    Classify image files, and the image files in folders, with a running server.

    The exit code is 1 if an image could not be classified.
    """

    examples = (
        ("Show the classes of an image", "convoy classify photo.jpg"),
        (
            "Write the best class of every image in a folder to a CSV file",
            "convoy classify photos/ --top-k 1 --csv > classes.csv",
        ),
    )

    paths: Annotated[list[Path], Option("PATH", positional=True)] = Field(
        description="Classify these image files, and the image files in these folders."
    )
    model: Annotated[str, Option("NAME")] = Field(
        "", description="Use this model. You can leave it out if the server has only one."
    )
    model_version: int = Field(
        0,
        ge=0,
        le=2**63 - 1,
        description="Use this version of the model. 0 uses the newest.",
    )
    top_k: int = Field(5, ge=1, le=1000, description="Show this many classes of each image.")
    timeout_s: float = Field(TIMEOUT_S, gt=0, le=1e6, description="Wait this long for each answer.")
    concurrency: int = Field(32, ge=1, description="Send this many images at once.")
    print_json: Annotated[bool, Option(flag="json")] = Field(False, description="Print JSON.")
    print_csv: Annotated[bool, Option(flag="csv")] = Field(False, description="Print CSV.")

    @model_validator(mode="after")
    def _check_format(self) -> Self:
        if self.print_json and self.print_csv:
            raise ValueError("--json and --csv exclude each other")
        return self
