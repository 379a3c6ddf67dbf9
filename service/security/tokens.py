"""Bearer tokens: random texts that only their holders have; a file has the SHA-256 of each.

That it is neither salted nor slow is right for random tokens, and for those only: let
`convoy token` make them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from convoy.service.errors import StartError

Right = Literal["infer", "observe", "control"]

RIGHTS: frozenset[Right] = frozenset(get_args(Right))

TOKEN_BYTES = 32
"""Of chance in a token."""

_HEADER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_LINE = re.compile(r"(?P<name>\S+) +(?P<rights>[a-z,]+) +(?P<digest>[0-9a-f]{64})")


def bearer(authorization: str) -> bytes:
    """Digest of the token in a header `authorization: Bearer TOKEN`; empty if there is none."""
    match = _HEADER.fullmatch(authorization)
    return _digest(match[1]) if match else b""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True, slots=True)
class Token:
    """
    What the server knows of a token.

    Attributes:
        name: Of its holder, for people.
        digest: SHA-256 of the token, 32 bytes.
    """

    name: str
    rights: frozenset[Right]
    digest: bytes

    @classmethod
    def make(cls, name: str, rights: Iterable[Right]) -> tuple[Token, str]:
        """Make a token; returns what the server is to know of it, and the token itself."""
        text = secrets.token_urlsafe(TOKEN_BYTES)
        return cls(name, frozenset(rights), _digest(text)), text

    @property
    def line(self) -> str:
        """Its line of the file: name, rights with commas between, digest in hex."""
        return f"{self.name} {','.join(sorted(self.rights))} {self.digest.hex()}"


class Tokens:
    """
    Those of a file; empty lines and those that begin with # are passed over.

    Raises:
        StartError: As `load`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.load()

    def load(self) -> None:
        """
        Take what the file holds now.

        Raises:
            StartError: If it cannot be read, or a line is none; what was loaded before stays.
        """
        try:
            lines = self.file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StartError(f"cannot read the tokens of {self.file}: {error}") from error
        told = [(number, line.strip()) for number, line in enumerate(lines, 1)]
        self._tokens = [
            _token(line, f"{self.file}:{number}")
            for number, line in told
            if line and not line.startswith("#")
        ]

    def find(self, digest: bytes) -> Token | None:
        """Find the token of this SHA-256."""
        # All are looked at, however early one fits: the time that it takes tells nothing.
        fitting = [token for token in self._tokens if hmac.compare_digest(token.digest, digest)]
        return fitting[0] if fitting else None


def _token(line: str, where: str) -> Token:
    match = _LINE.fullmatch(line)
    rights = set(match["rights"].split(",")) if match else set()
    if not match or not rights <= RIGHTS:
        # Without the line: somebody may have written a token where its digest belongs.
        raise StartError(
            f"{where} is not NAME RIGHTS SHA256, with rights of {', '.join(get_args(Right))}"
        )
    chosen = frozenset(right for right in RIGHTS if right in rights)
    return Token(match["name"], chosen, bytes.fromhex(match["digest"]))
