"""`convoy promote`: let the shadow of a model serve, if it is good enough."""

from __future__ import annotations

import sys
from typing import Annotated

from pydantic import Field

from convoy.commands.command_line import UsageError, command
from convoy.commands.connection import ConnectionSettings
from convoy.commands.shadow import LOAD_TIMEOUT_S, calling, print_comparison, print_json
from convoy.options import Option


class PromoteSettings(ConnectionSettings):
    """
    Let the shadow of a model serve, if it meets every bound.

    The version then serves alone, without being loaded again, and without an error for any client.
    If a bound is not met, nothing changes, and the command prints each bound that is not met. A
    share is judged by the worse end of its 95 % interval.

    To roll back, load the previous version; docs/how-to/shadow.md shows the request.
    """

    examples = (
        ("Promote version 2 with the default bounds", "convoy promote resnet50 2"),
        (
            "Promote a version that was trained to answer differently",
            "convoy promote resnet50 2 --min-agreement 0.7",
        ),
    )

    model: Annotated[str, Option("MODEL", positional=True, has_variable=False)] = Field(
        description="Promote the shadow of this model."
    )
    version: Annotated[int, Option("VERSION", positional=True, has_variable=False)] = Field(
        ge=1, le=2**63 - 1, description="Promote this version, which must be the shadow."
    )
    min_images: int = Field(
        1000,
        ge=1,
        le=2**63 - 1,
        description="Require at least this many images answered by both versions.",
    )
    min_agreement: float = Field(
        0.95, ge=0, le=1, description="Require this share of images with the same class."
    )
    max_failures: float = Field(
        0.01,
        gt=0,
        le=1,
        description="Allow this share of images that the shadow failed on; 1 allows any.",
    )
    max_p99_ratio: float = Field(
        1.5,
        ge=0,
        description="Allow the p99 of the shadow's runs to be this many times the p99 of the "
        "serving version. 0 allows any ratio.",
    )
    timeout_s: float = Field(
        LOAD_TIMEOUT_S, gt=0, le=1e6, description="Wait this long for the answer."
    )
    print_json: Annotated[bool, Option(flag="json")] = Field(False, description="Print JSON.")


@command(PromoteSettings)
def main(chosen: PromoteSettings) -> int:
    """Promote a shadow; return 1 if a bound is not met, or the server cannot be reached."""
    # gRPC takes a moment to import: --help and a wrong flag do not wait for it.
    from convoy.pb.convoy.v1 import shadow_pb2 as pb
    from convoy.results import ConvoyError

    request = pb.PromoteShadowRequest(
        model=chosen.model,
        version=chosen.version,
        min_images=chosen.min_images,
        min_agreement=chosen.min_agreement,
        max_failures=chosen.max_failures,
        max_p99_ratio=chosen.max_p99_ratio,
    )
    try:
        with calling(chosen, chosen.timeout_s) as call:
            answer = call("PromoteShadow", request)
    except (ConvoyError, UsageError, OSError) as error:
        print(f"convoy promote: {error}", file=sys.stderr)
        return 1
    judged = answer.shadow
    if chosen.print_json:
        print_json(judged)
        return 0
    print(
        f"model {judged.model}: version {judged.version} was judged against version "
        f"{judged.serving_version}"
    )
    print_comparison(judged)
    print(f"version {judged.version} now serves")
    return 0
