"""`convoy models`: list the models of a server."""

from __future__ import annotations

import dataclasses
import json
import sys

from pydantic import Field
from pydantic_settings import CliImplicitFlag, SettingsConfigDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from convoy.client import DEFAULT_TIMEOUT_S, Client
from convoy.commands import command_line
from convoy.commands.connection import ConnectionSettings
from convoy.results import ConvoyError, Model


class ModelsSettings(ConnectionSettings):
    """List the models of a running server."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="CONVOY_",
        cli_kebab_case=True,
        cli_prog_name="convoy models",
        cli_shortcuts={"print-json": "json"},
    )

    timeout_s: float = Field(DEFAULT_TIMEOUT_S, gt=0, description="Wait this long for the answer.")
    print_json: CliImplicitFlag[bool] = Field(False, description="Print JSON.")


def main(arguments: list[str]) -> int:
    """Print the models; return 1 if the server cannot be reached."""
    chosen = command_line.read(ModelsSettings, arguments)
    try:
        with Client(
            chosen.address,
            timeout_s=chosen.timeout_s,
            credentials=chosen.credentials(),
            token=chosen.token.get_secret_value(),
        ) as client:
            models = client.models()
    except (ConvoyError, OSError) as error:
        print(f"convoy models: {error}", file=sys.stderr)
        return 1
    if chosen.print_json:
        print(json.dumps([dataclasses.asdict(model) for model in models], indent=2))
    else:
        _print_table(models)
    return 0


def _print_table(models: list[Model]) -> None:
    table = Table("model", "version", "architecture", "input", "classes", "batch", "provider")
    for model in models:
        provider = Text(model.provider)
        if model.fallback_reason:
            provider.append(f"\n{model.fallback_reason}", style="yellow")
        table.add_row(
            model.name,
            str(model.version),
            model.architecture,
            "x".join(map(str, model.input_shape)),
            str(len(model.labels)),
            str(model.max_batch_size),
            provider,
        )
    Console().print(table)
