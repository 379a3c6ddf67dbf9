"""Bearer tokens: random texts that only their holders know; a file has the SHA-256 of each.

A hash without salt that is fast to compute is right for random tokens only: make them with
`convoy token`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from convoy.service.errors import StartError

Right = Literal["infer", "observe", "control"]

RIGHTS: frozenset[Right] = frozenset(get_args(Right))

TOKEN_BYTES = 32
"""Random bytes in a token."""

PREFIX = "cvy_"
"""Begins every token that is made, so that the log and scanners of source code recognise it."""

SEVERAL = b"several"
"""Takes the place of a digest where a call has several Authorization headers; no token has it."""

_HEADER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_LINE = re.compile(r"(?P<name>\S+) +(?P<rights>[a-z,]+) +(?P<digest>[0-9a-f]{64})")


def bearer(authorization: str) -> bytes:
    """Return the digest of the token in a header `authorization: Bearer TOKEN`, or empty bytes."""
    match = _HEADER.fullmatch(authorization)
    return _digest(match[1]) if match else b""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True, slots=True)
class Token:
    """
    The server's record of a token.

    Attributes:
        name: Name of its holder, for people.
        digest: SHA-256 of the token, 32 bytes.
    """

    name: str
    rights: frozenset[Right]
    digest: bytes

    @classmethod
    def make(cls, name: str, rights: Iterable[Right]) -> tuple[Token, str]:
        """Make a token; return the record for the server, and the token itself."""
        text = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        return cls(name, frozenset(rights), _digest(text)), text

    @property
    def line(self) -> str:
        """The line for the file: name, comma-separated rights, digest in hex."""
        return f"{self.name} {','.join(sorted(self.rights))} {self.digest.hex()}"


class Tokens:
    """
    The tokens that a server knows.

    Attributes:
        known: All of them; may be replaced.
    """

    def __init__(self, known: Sequence[Token] = ()) -> None:
        self.known = known

    def find(self, digest: bytes) -> Token | None:
        """Find the token with this SHA-256."""
        # Compare with all of them, in constant time: the time taken reveals nothing.
        found = [token for token in self.known if hmac.compare_digest(token.digest, digest)]
        return found[0] if found else None

    def name_of(self, digest: bytes) -> str:
        """Return the name of the holder of a token; empty if it is unknown."""
        token = self.find(digest)
        return token.name if token else ""


class TokenFile(Tokens):
    """
    The tokens of a file. Empty lines and lines that begin with # are ignored.

    Raises:
        StartError: See `load`.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.load()

    def load(self) -> None:
        """
        Load the file.

        Raises:
            StartError: If it cannot be read, or a line is malformed; the tokens that were loaded
                before stay in use.
        """
        try:
            lines = self.file.read_text("utf-8").splitlines()
        except OSError as error:
            raise StartError(f"cannot read the token file {self.file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise StartError(f"the token file {self.file} is not UTF-8 text") from error
        numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
        self.known = [
            _token(line, f"{self.file}:{number}")
            for number, line in numbered
            if line and not line.startswith("#")
        ]


def _token(line: str, where: str) -> Token:
    match = _LINE.fullmatch(line)
    rights = set(match["rights"].split(",")) if match else set()
    if not match or not rights <= RIGHTS:
        # The message omits the line, which may hold a token in place of its digest.
        raise StartError(
            f"{where}: expected NAME RIGHTS SHA256, with RIGHTS from {','.join(get_args(Right))}; "
            "add tokens with `convoy token`"
        )
    chosen = frozenset(right for right in RIGHTS if right in rights)
    return Token(match["name"], chosen, bytes.fromhex(match["digest"]))
