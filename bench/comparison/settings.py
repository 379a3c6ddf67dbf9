"""Everything that `convoy compare` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _parts(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


BatchSize = Annotated[int, Field(ge=1, le=1024)]


class CompareSettings(BaseSettings):
    """
    Compare the models of a repository: accuracy, operations, time, memory, parameters.

    Time is that of ONNX Runtime in convoy's own session; accuracy is what the artifacts say.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="CONVOY_",
        cli_kebab_case=True,
        cli_prog_name="convoy compare",
        cli_shortcuts={"json-file": "json", "from-file": "from"},
    )

    model_repository: Path = Field(Path("model_repository"), description="Where artifacts are.")
    models: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parts)] = Field(
        (), description="Names, separated by commas; all of the repository if not given."
    )
    batch_sizes: Annotated[tuple[BatchSize, ...], NoDecode, BeforeValidator(_parts)] = Field(
        (1, 2, 4, 8, 16, 32, 64), description="Separated by commas."
    )
    seconds: float = Field(1.0, gt=0, description="How long each batch size runs, at least.")
    threads: int = Field(0, ge=0, description="Threads of a run; 0 takes one for each core.")
    json_file: Path | None = Field(None, description="Where to write the figures.")
    from_file: Path | None = Field(
        None, description="Figures to show again, instead of measuring: a file made by --json."
    )
    figures: Path | None = Field(None, description="Folder for the drawings.")
    format: Literal["png", "svg"] = Field("png", description="Of the drawings.")
