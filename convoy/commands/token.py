"""`convoy token`: make a bearer token for a server."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from convoy.commands.command_line import command
from convoy.options import Option, Options
from convoy.service.security.tokens import Right, Token


class TokenSettings(Options):
    """
    Make a bearer token for a server, add it to the server's token file, and print it.

    The token is printed only once: the file keeps its SHA-256. To revoke a token, delete its line
    from the file. The server notices a change of the file within ten seconds.
    """

    examples = (
        ("Let an application classify images", "convoy token shop infer --token-file tokens"),
        ("Let Prometheus read metrics", "convoy token prometheus observe --token-file tokens"),
    )

    name: Annotated[str, Option("NAME", positional=True)] = Field(
        description="Name the owner of the token, for people who read the file.",
    )
    rights: Annotated[list[Right], Option("RIGHT", positional=True)] = Field(
        min_length=1,
        description="Grant these rights. infer: classify images. observe: read metrics and "
        "statistics. control: load and unload models, start and promote shadows, and change the "
        "log level.",
    )
    token_file: Annotated[Path, Option("FILE")] = Field(
        description="Add the token to this file. The file is created if it does not exist."
    )

    @field_validator("name")
    @classmethod
    def _is_one_word(cls, name: str) -> str:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError("the name is not valid UTF-8") from error
        if not re.fullmatch(r"[^\s#]\S*", name):
            raise ValueError(
                f"{name!r} is not valid; a name has no spaces, and does not begin with #"
            )
        return name


@command(TokenSettings)
def main(chosen: TokenSettings) -> int:
    """Make a token and print it; return 1 if the file cannot be written."""
    token, text = Token.make(chosen.name, chosen.rights)
    try:
        # An editor may have left the last line without an end, which would hold two tokens then.
        line = f"{_missing_end(chosen.token_file)}{token.line}\n"
        # The hashes are not secret, but a user who can write the file can grant access: mode 600.
        with os.fdopen(
            os.open(chosen.token_file, _APPENDING, 0o600), "a", encoding="utf-8"
        ) as file:
            file.write(line)
    except OSError as error:
        print(f"convoy token: {chosen.token_file}: {error.strerror}", file=sys.stderr)
        return 1
    print(text)
    return 0


def _missing_end(file: Path) -> str:
    """Return the end that the last line of a file lacks, or nothing."""
    if not file.is_file():  # new, or a device
        return ""
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - 1))
        return "" if opened.read() in (b"", b"\n") else "\n"


_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND
