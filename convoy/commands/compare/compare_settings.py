"""The settings of `convoy compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from convoy.commands.command_line import parts


def _once_each(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _ascending(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(sizes)))


BatchSize = Annotated[int, Field(ge=1, le=1024)]

Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parts), AfterValidator(_once_each)]

BatchSizes = Annotated[
    tuple[BatchSize, ...],
    Field(min_length=1),
    NoDecode,
    BeforeValidator(parts),
    AfterValidator(_ascending),
]


class CompareSettings(BaseSettings):
    """
    Compare the models of a repository: accuracy, operations, time, memory, parameters.

    The time is that of ONNX Runtime on the CPU, with sessions like the server's, but with the same
    threads for every network. The accuracy is that of the artifacts, next to the accuracy that
    others published for the architecture on ImageNet.
    Ctrl-C ends the measurement and keeps the results so far.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="CONVOY_",
        cli_kebab_case=True,
        cli_prog_name="convoy compare",
        cli_shortcuts={"json-file": "json", "from-file": "from"},
    )

    model_repository: Path = Field(
        Path("model_repository"), description="Read artifacts from this folder."
    )
    models: Names = Field(
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
    json_file: Path | None = Field(None, description="Write the results to this file.")
    from_file: Path | None = Field(
        None, description="Show the results in this file, written by --json, instead of measuring."
    )
    figures: Path | None = Field(None, description="Draw figures in this folder.")
    format: Literal["png", "svg"] = Field("png", description="Draw figures in this format.")
