"""The settings of `convoy compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from convoy.options import Option, Options, Separated


def _once_each(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _ascending(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(sizes)))


BatchSize = Annotated[int, Field(ge=1, le=1024)]

Names = Annotated[tuple[str, ...], Separated, AfterValidator(_once_each)]

BatchSizes = Annotated[
    tuple[BatchSize, ...],
    Field(min_length=1),
    Separated,
    AfterValidator(_ascending),
]


class CompareSettings(Options):
    """
    Compare the models of a repository: accuracy, operations, time, memory, parameters.

    The time is that of ONNX Runtime on the CPU, with sessions like the server's, but with the same
    threads for every network. The accuracy is that of the artifacts, next to the accuracy that
    others published for the architecture on ImageNet.
    Ctrl-C ends the measurement and keeps the results so far.
    """

    model_repository: Annotated[Path, Option("DIR")] = Field(
        Path("model_repository"), description="Read artifacts from this folder."
    )
    models: Annotated[Names, Option("NAME")] = Field(
        (),
        description="Compare the newest versions of these models, separated by commas; all models "
        "by default.",
    )
    batch_sizes: BatchSizes = Field(
        (1, 2, 4, 8, 16, 32, 64), description="Measure these batch sizes, separated by commas."
    )
    seconds: float = Field(
        1.0, gt=0, description="Run each batch size of each model for at least this long."
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Use this many threads for a run; 0 uses all that the process may.",
    )
    json_file: Annotated[Path | None, Option("FILE", flag="json")] = Field(
        None, description="Write the results to this file."
    )
    from_file: Annotated[Path | None, Option("FILE", flag="from")] = Field(
        None, description="Show the results in this file, written by --json, instead of measuring."
    )
    figures: Annotated[Path | None, Option("DIR")] = Field(
        None, description="Draw figures in this folder."
    )
    format: Literal["png", "svg"] = Field("png", description="Draw figures in this format.")
