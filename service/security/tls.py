"""TLS for both ports, from files that may change while the server runs."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from convoy.service.errors import StartError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """
    Where certificates and keys lie, as PEM.

    Attributes:
        certificate: The server's, followed by what leads from it to its authority.
        key: The server's, without a password.
        client_ca: Authorities whose clients alone may connect (mTLS); None admits all clients.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def __iter__(self) -> Iterator[Path]:
        yield self.certificate
        yield self.key
        if self.client_ca:
            yield self.client_ca


class Pem(NamedTuple):
    """What the files hold."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Tls:
    """
    What both servers need for TLS 1.2 and newer.

    Attributes:
        files: Where it comes from.
        context: For HTTP.
        pem: For gRPC, which has a library of its own for TLS.

    Raises:
        StartError: As `load`.
    """

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.load()

    def load(self) -> None:
        """
        Take what the files hold now, for new connections.

        Authorities of clients are only added to what HTTP trusts, until the server starts again.

        Raises:
            StartError: If a file cannot be read or the key is not the certificate's; what was
                loaded before stays.
        """
        try:
            pem = _read(self.files)
            # First into one that nobody uses: half of a new pair must not replace half of the old.
            for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):
                _load_into(context, self.files)
        except OSError as error:  # ssl.SSLError is one
            named = ", ".join(str(file) for file in self.files)
            raise StartError(f"cannot use TLS's files {named}: {error}") from error
        self.pem = pem


def _read(files: TlsFiles) -> Pem:
    client_ca = files.client_ca.read_bytes() if files.client_ca else None
    return Pem(files.certificate.read_bytes(), files.key.read_bytes(), client_ca)


def _load_into(context: ssl.SSLContext, files: TlsFiles) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key, password=_no_password)
    if files.client_ca:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED


def _no_password() -> str:
    """Without this OpenSSL would ask on the terminal."""
    raise OSError("the key has a password")
