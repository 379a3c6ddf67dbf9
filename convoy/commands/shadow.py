"""`convoy shadow`: compare a version of a model with the one that serves, on real requests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from convoy.commands.command_line import UsageError, command
from convoy.commands.connection import ConnectionSettings
from convoy.options import Option

if TYPE_CHECKING:
    from convoy.pb.convoy.v1 import shadow_pb2 as pb

LOAD_TIMEOUT_S = 300.0
"""Longest wait for an answer, in seconds: a large model can take minutes to load."""

_MEASURES = (
    ("agreement", "same most probable class", "share"),
    ("failures", "failures", "share"),
    ("probability_change", "largest change of a probability, mean", "number"),
    ("kl_divergence", "KL divergence in nats, mean", "number"),
    ("run_p50_seconds", "run of the shadow, median", "time"),
    ("serving_run_p50_seconds", "run of the serving version, median", "time"),
    ("run_p99_seconds", "run of the shadow, p99", "time"),
    ("serving_run_p99_seconds", "run of the serving version, p99", "time"),
)
"""Fields of the comparison, their names in the table, and their kinds."""

_FORMATS: dict[str, Callable[[float], str]] = {
    "share": lambda value: f"{100 * value:.2f} %",
    "number": lambda value: f"{value:.4f}",
    "time": lambda value: f"{1000 * value:.3g} ms",
}


class ShadowSettings(ConnectionSettings):
    """
    Compare a version of a model with the one that serves, on real requests.

    The server loads the version as a shadow. A shadow answers no client: it runs on a share of the
    requests after they are answered, while the device is idle. Without a version, print the
    comparison so far. `convoy promote` lets the shadow serve.

    The server must be started with --model-control-mode explicit.
    """

    examples = (
        ("Compare version 2 on a tenth of the requests", "convoy shadow resnet50 2 --share 0.1"),
        ("Print the comparison", "convoy shadow resnet50"),
        ("Unload the shadow", "convoy shadow resnet50 --stop"),
    )

    model: Annotated[str, Option("MODEL", positional=True, has_variable=False)] = Field(
        description="Start, show or stop the shadow of this model."
    )
    version: Annotated[int | None, Option("VERSION", positional=True, has_variable=False)] = Field(
        None, ge=1, le=2**63 - 1, description="Start this version as the shadow."
    )
    share: Annotated[float, Option(has_variable=False)] = Field(
        0.1, gt=0, le=1, description="Run the shadow on this share of the requests."
    )
    stop: Annotated[bool, Option(has_variable=False)] = Field(
        False, description="Stop the shadow, and unload it."
    )
    timeout_s: float = Field(
        LOAD_TIMEOUT_S, gt=0, le=1e6, description="Wait this long for the answer."
    )
    print_json: Annotated[bool, Option(flag="json")] = Field(False, description="Print JSON.")

    @model_validator(mode="after")
    def _check_stop(self) -> ShadowSettings:
        if self.stop and self.version is not None:
            raise ValueError("--stop takes no VERSION, as a model has one shadow; leave it out")
        if "share" in self.model_fields_set and self.version is None:
            raise ValueError("--share needs VERSION, the version to start with this share")
        return self


@command(ShadowSettings)
def main(chosen: ShadowSettings) -> int:
    """Start, stop or show a shadow; return 1 if the server cannot be reached, or refuses."""
    # gRPC takes a moment to import: --help and a wrong flag do not wait for it.
    from convoy.pb.convoy.v1 import shadow_pb2 as pb
    from convoy.results import ConvoyError

    try:
        with calling(chosen, chosen.timeout_s) as call:
            if chosen.stop:
                call("StopShadow", pb.StopShadowRequest(model=chosen.model))
                print("{}" if chosen.print_json else f"model {chosen.model} no longer has a shadow")
                return 0
            if chosen.version is None:
                answer = call("GetShadow", pb.GetShadowRequest(model=chosen.model))
            else:
                request = pb.StartShadowRequest(
                    model=chosen.model, version=chosen.version, share=chosen.share
                )
                answer = call("StartShadow", request)
    except (ConvoyError, UsageError, OSError) as error:
        print(f"convoy shadow: {error}", file=sys.stderr)
        return 1
    print_shadow(answer.shadow, as_json=chosen.print_json)
    return 0


@contextmanager
def calling(chosen: ConnectionSettings, timeout_s: float) -> Iterator[Callable[[str, Any], Any]]:
    """
    Connect to a server; yield a function that calls a method of `ShadowService` by its name.

    That function raises `ConvoyError` if the server refuses the call or cannot be reached.

    Raises:
        UsageError: If the credentials cannot be used.
    """
    import grpc

    from convoy.pb.convoy.v1.shadow_pb2_grpc import ShadowServiceStub
    from convoy.results import to_error

    credentials = chosen.credentials()
    channel = (
        grpc.secure_channel(chosen.address, credentials)
        if credentials
        else grpc.insecure_channel(chosen.address)
    )
    with channel:
        stub = ShadowServiceStub(channel)

        def call(method: str, request: Any) -> Any:
            try:
                return getattr(stub, method)(request, timeout=timeout_s, metadata=chosen.metadata)
            except grpc.RpcError as error:
                # Without grpc's error as the cause: it would repeat the message on many lines.
                raise to_error(error, chosen.address) from None

        yield call


def print_shadow(shadow: pb.Shadow, *, as_json: bool) -> None:
    """Print the comparison with a running shadow."""
    if as_json:
        print_json(shadow)
        return
    print(
        f"model {shadow.model}: version {shadow.version} is a shadow of version "
        f"{shadow.serving_version}, on {100 * shadow.share:g} % of the requests"
    )
    print_comparison(shadow)


def print_json(shadow: pb.Shadow) -> None:
    """Print a comparison as the JSON of the server's REST API."""
    from convoy.service.http.messages import as_json

    print(json.dumps(as_json(shadow), indent=2))


def print_comparison(shadow: pb.Shadow) -> None:
    """Print a row for each measure that has observations, and the images without one."""
    from rich.table import Column

    from convoy.commands.listing import print_rows

    rows = [
        _row(name, getattr(shadow, field), _FORMATS[kind])
        for field, name, kind in _MEASURES
        if shadow.HasField(field)
    ]
    if rows:
        columns = ("measure", "value", "95 % interval", "count")
        print_rows([Column(name, overflow="fold") for name in columns], rows)
        print(f"largest change of a probability: {shadow.largest_probability_change:.4f}")
    else:
        print("no request has been compared yet")
    if shadow.dropped_image_count:
        print(f"{shadow.dropped_image_count} images were dropped because the device was busy")


def _row(name: str, estimate: pb.Estimate, show: Callable[[float], str]) -> list[str]:
    interval = f"{show(estimate.low)} to {show(estimate.high)}"
    return [name, show(estimate.value), interval, str(estimate.count)]
