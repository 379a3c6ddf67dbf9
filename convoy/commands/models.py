"""`convoy models`: list the models of a server."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from convoy.commands.command_line import UsageError, command
from convoy.commands.connection import ConnectionSettings
from convoy.defaults import TIMEOUT_S
from convoy.options import Option

if TYPE_CHECKING:
    from convoy.results import Model


class ModelsSettings(ConnectionSettings):
    """List the models of a running server."""

    examples = (
        ("List the models of the server on this machine", "convoy models"),
        ("List those of another server, as JSON", "convoy models --address gpu1:8001 --json"),
    )

    timeout_s: float = Field(TIMEOUT_S, gt=0, le=1e6, description="Wait this long for the answer.")
    print_json: Annotated[bool, Option(flag="json")] = Field(False, description="Print JSON.")


@command(ModelsSettings)
def main(chosen: ModelsSettings) -> int:
    """Print the models; return 1 if the server cannot be reached."""
    # gRPC takes a moment to import: --help and a wrong flag do not wait for it.
    from convoy.client import Client
    from convoy.results import ConvoyError

    try:
        with Client(
            chosen.address,
            timeout_s=chosen.timeout_s,
            credentials=chosen.credentials(),
            token=chosen.token.get_secret_value(),
        ) as client:
            models = client.models()
    except (ConvoyError, UsageError, OSError) as error:
        print(f"convoy models: {error}", file=sys.stderr)
        return 1
    if chosen.print_json:
        print(json.dumps([dataclasses.asdict(model) for model in models], indent=2))
    elif models:
        _print_table(models)
    else:
        print(f"convoy models: {chosen.address} serves no model", file=sys.stderr)
    return 0


def _print_table(models: list[Model]) -> None:
    from rich.table import Column

    from convoy.commands.listing import print_rows

    columns = ("model", "version", "architecture", "input", "classes", "batch", "provider")
    print_rows(
        [Column(name, overflow="fold") for name in columns], list(map(_row, models)), columns[2:]
    )
    # A server has one device: most often, every model runs elsewhere for the same reason.
    for reason in dict.fromkeys(model.fallback_reason for model in models):
        if reason:
            names = ", ".join(model.name for model in models if model.fallback_reason == reason)
            print(f"running on the CPU: {names}: {reason}")


def _row(model: Model) -> list[str]:
    return [
        model.name,
        str(model.version),
        model.architecture,
        "x".join(map(str, model.input_shape)),
        f"{len(model.labels)}{' multi-label' if model.is_multi_label else ''}",
        str(model.max_batch_size),
        model.provider.removesuffix("ExecutionProvider"),
    ]
