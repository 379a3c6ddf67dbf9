"""Everything that `convoy bench` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import CliPositionalArg, NoDecode, SettingsConfigDict

from convoy.commands.command_line import parts
from convoy.commands.connection import ConnectionSettings

Concurrencies = Annotated[
    tuple[Annotated[int, Field(ge=1, le=65536)], ...], NoDecode, BeforeValidator(parts)
]
Rates = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1e6)], ...], NoDecode, BeforeValidator(parts)
]


class BenchSettings(ConnectionSettings):
    """
    Put load on one model of a server that speaks the Open Inference Protocol over gRPC.

    With --concurrency that many requests are on their way all the time (a closed loop); with
    --rate they leave on time whatever the answers do (an open loop), as those of many strangers
    would. Latency counts from the time when a request was to leave. Ctrl-C ends the measuring and
    keeps what there is.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="CONVOY_",
        cli_kebab_case=True,
        cli_prog_name="convoy bench",
        cli_shortcuts={"json-file": "json"},
    )

    model: CliPositionalArg[str] = Field(description="Name of the model.")
    model_version: str = Field("", description="Its version; the server chooses if not given.")
    concurrency: Concurrencies = Field(
        (), description="Requests on their way at once; several, separated by commas, in turn."
    )
    rate: Rates = Field(
        (), description="Requests per second; several, separated by commas, in turn."
    )
    arrivals: Literal["poisson", "constant"] = Field(
        "poisson", description="How requests of a rate follow each other."
    )
    seconds: float = Field(10.0, gt=0, description="How long each load is measured.")
    warmup_s: float = Field(1.0, ge=0, description="How long it is put on before, unmeasured.")
    batch_size: int = Field(1, ge=1, le=1024, description="Images in one request.")
    images: tuple[Path, ...] = Field(
        (),
        description="Image files, and folders of them, to send as they are; without them random "
        "tensors are sent.",
    )
    timeout_s: float = Field(10.0, gt=0, description="Deadline of each request.")
    connections: int = Field(4, ge=1, le=1024, description="TCP connections to the server.")
    seed: int = Field(0, ge=0, description="Of random tensors and of arrivals.")
    mlperf: Literal["server", "offline"] | None = Field(
        None,
        description="Let MLPerf's load generator make this scenario, at one --rate that it is to "
        "be met at; needs the extra mlperf.",
    )
    p99_ms: float = Field(
        15.0, gt=0, description="Bound of MLPerf's Server scenario; its own for ResNet-50 is 15."
    )
    mlperf_logs: Path = Field(Path("mlperf-logs"), description="Where MLPerf writes its logs.")
    json_file: Path | None = Field(None, description="Where to write what was found.")
    plot: Path | None = Field(None, description="Where to draw it, as PNG or SVG.")

    @model_validator(mode="after")
    def _one_kind_of_load(self) -> Self:
        if self.concurrency and self.rate:
            raise ValueError("--concurrency and --rate exclude each other")
        if self.mlperf and len(self.rate) != 1:
            raise ValueError("--mlperf needs one --rate")
        if self.mlperf and (self.json_file or self.plot):
            raise ValueError("--json and --plot are not for --mlperf, which writes logs of its own")
        return self
