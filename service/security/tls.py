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
    Paths of certificates and keys, in PEM.

    Attributes:
        certificate: The server's certificate, followed by those that lead to its authority.
        key: The server's key, without a password.
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
    """The contents of the files."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class GrpcTls:
    """
    TLS for gRPC, which has its own TLS library.

    Attributes:
        pem: Certificates and keys; read again at each new connection.
    """

    pem: Pem

    def __init__(self, pem: Pem) -> None:
        self.pem = pem


class Tls(GrpcTls):
    """
    TLS 1.2 and newer from files, in the form that each transport needs.

    Attributes:
        files: Paths of its certificates and keys.
        context: Context of the HTTP transport.
        expires_at: Time at which the certificate expires, in seconds since 1970.

    Raises:
        StartError: See `load`.
    """

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.load()

    def load(self) -> None:
        """
        Load the files, for new connections.

        HTTP continues to trust removed client authorities until the server restarts.

        Raises:
            StartError: If a file cannot be read, or the key does not fit the certificate; the
                contents that were loaded before stay in use.
        """
        try:
            pem = _read(self.files)
            # Load into an unused context first: half of a new pair must not replace half of the
            # old one.
            for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):
                _load_into(context, self.files)
            self.expires_at = _expiry(self.files.certificate)
        except OSError as error:
            named = ", ".join(str(file) for file in self.files if file)
            raise StartError(f"cannot load the TLS files {named}: {_reason(error)}") from error
        self.pem = pem


def _read(files: TlsFiles) -> Pem:
    client_ca = files.client_ca.read_bytes() if files.client_ca else None
    return Pem(files.certificate.read_bytes(), files.key.read_bytes(), client_ca)


def _load_into(context: ssl.SSLContext, files: TlsFiles) -> None:
    # Applies to new connections; those that are open keep their session.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key, password=_no_password)
    if files.client_ca:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED


def _expiry(certificate: Path) -> float:
    """Return the time at which the first certificate of a file expires, in seconds since 1970."""
    # The public functions of `ssl` decode only the certificates of a peer.
    decoded = ssl._ssl._test_decode_cert(str(certificate))  # type: ignore[attr-defined]
    return ssl.cert_time_to_seconds(decoded["notAfter"])


def _reason(error: OSError) -> str:
    """Return the reason why files cannot be loaded; OpenSSL's own names are for its authors."""
    if not isinstance(error, ssl.SSLError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    return "a certificate or a key is not in PEM format"


def _no_password() -> str:
    """Refuse a key with a password; OpenSSL would otherwise ask for it on the terminal."""
    raise OSError("the key has a password")
