"""The settings of `convoy compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from convoy.options import Option, Options, Separated

_OF_A_MEASUREMENT = ("model_repository", "models", "batch_sizes", "seconds", "threads")


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

    Times are measured with ONNX Runtime on the CPU, with sessions like the server's, but with the
    same number of threads for every network. Accuracy is the one that each model's manifest states,
    next to the one that others published for the network on ImageNet.

    Ctrl-C ends the measurement and keeps the results so far.
    """

    examples = (
        ("Compare all models, and draw figures", "convoy compare --figures figures/"),
        (
            "Compare two models, and keep the results",
            "convoy compare --models resnet18,vgg16 --json results.json",
        ),
        ("Show these results again", "convoy compare --from results.json"),
    )

    model_repository: Annotated[Path, Option("DIR")] = Field(
        Path("model_repository"), description="Compare models of this folder."
    )
    models: Annotated[Names, Option("NAME")] = Field(
        (),
        description="Compare the newest versions of these models. If unset, of all models.",
    )
    batch_sizes: BatchSizes = Field(
        (1, 2, 4, 8, 16, 32, 64), description="Measure these batch sizes."
    )
    seconds: float = Field(
        1.0, gt=0, description="Run each batch size of each model for at least this long."
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Use this many threads for a run. 0 uses all that the process may use.",
    )
    json_file: Annotated[Path | None, Option("FILE", flag="json")] = Field(
        None, description="Write the results to this file."
    )
    from_file: Annotated[Path | None, Option("FILE", flag="from")] = Field(
        None,
        description="Show the results in this file, which --json has written, instead of "
        "measuring.",
    )
    figures: Annotated[Path | None, Option("DIR")] = Field(
        None, description="Draw figures into this folder."
    )
    format: Literal["png", "svg"] = Field("png", description="Draw figures in this format.")

    @model_validator(mode="after")
    def _measures(self, info: ValidationInfo) -> Self:
        # A variable may be meant for other commands.
        flags = (info.context or {}).get("flags", self.model_fields_set)
        ignored = [name for name in _OF_A_MEASUREMENT if name in flags]
        if self.from_file and ignored:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in ignored)
            raise ValueError(
                "--from shows the results in a file as they are, and measures nothing: leave out "
                f"{names}"
            )
        return self
