"""`convoy token`: make a bearer token for a server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from convoy.commands import command_line
from convoy.service.security.tokens import Right, Token


class TokenSettings(BaseSettings):
    """
    Add a token to a server's file of tokens, and print it, this once: the file has its SHA-256.

    To take it away delete its line; the server sees that within ten seconds.
    """

    model_config = SettingsConfigDict(
        frozen=True, env_prefix="CONVOY_", cli_kebab_case=True, cli_prog_name="convoy token"
    )

    name: CliPositionalArg[str] = Field(
        pattern=r"^[^\s#]\S*$", description="Whose it is, for those who read the file."
    )
    rights: CliPositionalArg[list[Right]] = Field(
        min_length=1, description="What it is good for: infer, observe, control."
    )
    token_file: Path = Field(description="The file; made if it is not there.")


def main(arguments: list[str]) -> int:
    """Make one; 1 if the file cannot be written."""
    chosen = command_line.read(TokenSettings, arguments)
    token, text = Token.make(chosen.name, chosen.rights)
    try:
        # 600 for a new one. What it holds is no secret, but who may write it may let others in.
        with os.fdopen(os.open(chosen.token_file, _APPENDING, 0o600), "a") as file:
            file.write(f"{token.line}\n")
    except OSError as error:
        print(f"convoy token: {chosen.token_file}: {error.strerror}", file=sys.stderr)
        return 1
    print(text)
    return 0


_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND
