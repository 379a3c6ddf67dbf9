"""Everything that `convoy compare` can be told."""

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

    Time is that of ONNX Runtime on the CPU, opened as the server opens it but with the same threads
    for every network; accuracy is what the artifacts say, and beside it what others published of
    the architecture on ImageNet.
    Ctrl-C ends the measuring and keeps what there is.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="CONVOY_",
        cli_kebab_case=True,
        cli_prog_name="convoy compare",
        cli_shortcuts={"json-file": "json", "from-file": "from"},
    )

    model_repository: Path = Field(Path("model_repository"), description="Where artifacts are.")
    models: Names = Field(
        (),
        description="Names, separated by commas, the newest version of each; all of the "
        "repository if not given.",
    )
    batch_sizes: BatchSizes = Field((1, 2, 4, 8, 16, 32, 64), description="Separated by commas.")
    seconds: float = Field(
        1.0, gt=0, description="How long each batch size of each model runs, at least."
    )
    threads: int = Field(
        0, ge=0, le=1024, description="Threads of a run; 0 takes all that the process may."
    )
    json_file: Path | None = Field(None, description="Where to write what was found.")
    from_file: Path | None = Field(
        None, description="What to show, instead of measuring: a file made by --json."
    )
    figures: Path | None = Field(None, description="Folder for the figures.")
    format: Literal["png", "svg"] = Field("png", description="Of the figures.")
