"""The settings of `convoy bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from convoy.commands.connection import ConnectionSettings
from convoy.options import Option, Separated

Concurrencies = Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Separated]
Rates = Annotated[tuple[Annotated[float, Field(gt=0, le=1e6)], ...], Separated]


class BenchSettings(ConnectionSettings):
    """
    Put load on one model of a server that speaks the Open Inference Protocol over gRPC.

    With --concurrency, that many requests are in flight all the time (a closed loop). With --rate,
    requests leave on time, however long the answers take (an open loop), like those of many
    independent clients. Latency counts from the time at which a request was due. Ctrl-C ends the
    measurement and keeps the loads that are complete.
    """

    model: Annotated[str, Option("MODEL", positional=True)] = Field(
        description="Send requests to this model."
    )
    model_version: Annotated[str, Option("VERSION")] = Field(
        "", description="Use this version; the server chooses one by default."
    )
    concurrency: Concurrencies = Field(
        (),
        description="Keep this many requests in flight; several values, separated by commas, in "
        "turn.",
    )
    rate: Rates = Field(
        (),
        description="Send this many requests per second; several values, separated by commas, in "
        "turn.",
    )
    arrivals: Literal["poisson", "constant"] = Field(
        "poisson", description="Space the requests of a --rate at random or evenly."
    )
    seconds: float = Field(10.0, gt=0, description="Measure each load for this long.")
    warmup_s: float = Field(
        1.0, ge=0, description="Put each load on for this long before it is measured."
    )
    batch_size: int = Field(1, ge=1, le=1024, description="Put this many images in one request.")
    images: Annotated[tuple[Path, ...], Separated] = Field(
        (),
        description="Send these image files, and the images in these folders, as they are; random "
        "tensors by default.",
    )
    timeout_s: float = Field(10.0, gt=0, description="Set this deadline for each request.")
    connections: int = Field(
        4, ge=1, le=1024, description="Open this many TCP connections to the server."
    )
    seed: int = Field(0, ge=0, description="Seed the random tensors and arrivals.")
    mlperf: Literal["server", "offline"] | None = Field(
        None,
        description="Let MLPerf's load generator run this scenario, at the one --rate to be met; "
        "needs the extra mlperf.",
    )
    p99_ms: float = Field(
        15.0,
        gt=0,
        description="Bound the latency of MLPerf's Server scenario; 15 is its bound for ResNet-50.",
    )
    mlperf_logs: Annotated[Path, Option("DIR")] = Field(
        Path("mlperf-logs"), description="Write MLPerf's logs to this folder."
    )
    json_file: Annotated[Path | None, Option("FILE", flag="json")] = Field(
        None, description="Write the results to this file."
    )
    plot: Annotated[Path | None, Option("FILE")] = Field(
        None, description="Draw the results to this file, as PNG or SVG."
    )

    @model_validator(mode="after")
    def _one_kind_of_load(self) -> Self:
        if self.concurrency and self.rate:
            raise ValueError("--concurrency and --rate exclude each other")
        # Both scenarios of MLPerf test one expected rate, and write their own files.
        if self.mlperf and len(self.rate) != 1:
            raise ValueError("--mlperf needs one --rate")
        if self.mlperf and (self.json_file or self.plot):
            raise ValueError("--json and --plot are not for --mlperf, which writes logs of its own")
        return self
