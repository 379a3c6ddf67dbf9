"""The settings of `convoy bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from convoy.commands.connection import ConnectionSettings
from convoy.commands.output_files import Drawing
from convoy.options import Option, Options, Separated

Concurrencies = Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Separated]
Rates = Annotated[tuple[Annotated[float, Field(gt=0, le=1e6)], ...], Separated]


class _Load(Options):
    """The number of requests, and their timing."""

    panel = "Load"

    concurrency: Concurrencies = Field(
        (),
        description="Keep this many requests in flight. Several values are measured in turn.",
    )
    rate: Rates = Field(
        (),
        description="Send this many requests per second. Several values are measured in turn.",
    )
    arrivals: Literal["poisson", "constant"] = Field(
        "poisson",
        description="Space the requests of --rate at random (poisson) or evenly (constant).",
    )
    seconds: float = Field(10.0, gt=0, description="Measure each load for this long.")
    warmup_s: float = Field(
        1.0, ge=0, description="Apply each load for this long before measuring it."
    )
    connections: int = Field(
        4, ge=1, le=1024, description="Open this many TCP connections to the server."
    )
    timeout_s: float = Field(10.0, gt=0, le=1e6, description="Set this deadline for each request.")


class _Requests(Options):
    """The content of the requests."""

    panel = "Requests"

    model_version: Annotated[str, Option("VERSION")] = Field(
        "", description="Use this version of the model. If unset, the server chooses one."
    )
    batch_size: int = Field(1, ge=1, le=1024, description="Put this many images into each request.")
    images: Annotated[tuple[Path, ...], Separated] = Field(
        (),
        description="Send these image files, and the image files in these folders, as they are. "
        "If unset, send random tensors.",
    )
    seed: int = Field(0, ge=0, description="Seed the random tensors and arrivals.")


class _Output(Options):
    """Files of results."""

    panel = "Output"

    json_file: Annotated[Path | None, Option("FILE", flag="json")] = Field(
        None, description="Write the results to this file."
    )
    plot: Annotated[Drawing | None, Option("FILE")] = Field(
        None, description="Draw the results to this file, as PNG or SVG."
    )


class _MLPerf(Options):
    """MLPerf's load generator in place of ours."""

    panel = "MLPerf"

    mlperf: Literal["server", "offline"] | None = Field(
        None,
        description="Run this scenario of MLPerf's load generator, at one --rate. Needs the extra "
        "mlperf.",
    )
    p99_ms: float = Field(
        15.0,
        gt=0,
        description="Set the bound for the latency in MLPerf's Server scenario. 15 is MLPerf's "
        "bound for ResNet-50.",
    )
    mlperf_logs: Annotated[Path, Option("DIR")] = Field(
        Path("mlperf-logs"), description="Write MLPerf's logs to this folder."
    )


class BenchSettings(_Load, _Requests, _Output, _MLPerf, ConnectionSettings):
    """
    Apply load to one model of a server that speaks the Open Inference Protocol over gRPC.

    With --concurrency, the given number of requests is in flight all the time (a closed loop). With
    --rate, requests are sent on time, however long the answers take (an open loop), like those of
    many independent clients. Latency counts from the time at which a request was due.

    Ctrl-C ends the measurement and keeps the loads that are complete.
    """

    examples = (
        (
            "Keep 1, then 8, then 64 requests in flight",
            "convoy bench resnet50 --concurrency 1,8,64",
        ),
        (
            "Send 500 photographs per second, and draw the latencies",
            "convoy bench resnet50 --rate 500 --images photos/ \\\n      --plot latency.svg",
        ),
    )

    model: Annotated[str, Option("MODEL", positional=True)] = Field(
        description="Send requests to this model."
    )

    @model_validator(mode="after")
    def _one_kind_of_load(self, info: ValidationInfo) -> Self:
        if self.concurrency and self.rate:
            raise ValueError("--concurrency and --rate exclude each other")
        # Both scenarios of MLPerf test one expected rate, and write their own files.
        if self.mlperf and len(self.rate) != 1:
            raise ValueError("--mlperf needs one --rate")
        if self.mlperf and (self.json_file or self.plot):
            raise ValueError("--json and --plot are not for --mlperf, which writes logs of its own")
        # A variable may be meant for other commands.
        flags = (info.context or {}).get("flags", self.model_fields_set)
        for names, applies, purpose in (
            (("p99_ms", "mlperf_logs"), self.mlperf, "--mlperf"),
            (("arrivals",), self.rate and not self.mlperf, "--rate without --mlperf"),
            (("warmup_s",), not self.mlperf, "a load without --mlperf"),
        ):
            given = [f"--{name.replace('_', '-')}" for name in names if name in flags]
            if given and not applies:
                raise ValueError(f"{', '.join(given)}: only for {purpose}; leave it out")
        return self
