"""Everything that `convoy tune` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, CliImplicitFlag, CliPositionalArg, SettingsConfigDict


class TuneSettings(BaseSettings):
    """
    Measure how models run best on this machine, and write it beside them for the server.

    For each number of threads in a run (with as many runs at once as the cores allow; on a GPU
    there is one at a time) and each batch size: images per second, and the time of a run. What
    answers most images without breaking --p99-ms is chosen: a request waits at most for the run
    that is on, and then for its own. The server must have the machine for it: stop it, and
    whatever else runs.
    """

    model_config = SettingsConfigDict(
        frozen=True, env_prefix="CONVOY_", cli_kebab_case=True, cli_prog_name="convoy tune"
    )

    models: CliPositionalArg[list[str]] = Field(
        min_length=1, description="Names; the newest version of each."
    )
    model_repository: Path = Field(Path("model_repository"), description="Where artifacts are.")
    p99_ms: float = Field(
        100.0, gt=0, description="Time within which 99 of 100 requests are to be answered."
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="Where models run, here as in `convoy serve`."
    )
    tf32: CliImplicitFlag[bool] = Field(False, description="As the server is started with.")
    cuda_graphs: CliImplicitFlag[bool] = Field(True, description="Likewise.")
    tensorrt: CliImplicitFlag[bool] = Field(False, description="Likewise.")
    seconds: float = Field(3.0, gt=0, description="How long each way to run is measured.")
    plot: Path | None = Field(
        None,
        description="Where to draw it, as PNG or SVG; with several models, one for each, "
        "named after it, beside.",
    )
    dry_run: CliImplicitFlag[bool] = Field(False, description="Measure, and write nothing.")
