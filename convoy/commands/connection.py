"""Settings of a connection to a server: address, token, TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

from pydantic import Field, SecretStr, field_validator

from convoy.commands.command_line import UsageError
from convoy.defaults import ADDRESS
from convoy.options import Option, Options

if TYPE_CHECKING:
    import grpc


class AddressSettings(Options):
    """The address of the server."""

    panel = "Connection"

    address: Annotated[str, Option("HOST:PORT")] = Field(
        ADDRESS, description="Connect to the server's gRPC port at this address."
    )

    @field_validator("address")
    @classmethod
    def _to_target(cls, address: str) -> str:
        from convoy.connecting import to_target  # with gRPC, which --help does not wait for

        return to_target(address)


class CredentialSettings(Options):
    """The settings of a connection beside the address: token and TLS."""

    panel = "Connection"

    token: Annotated[SecretStr, Option("TOKEN")] = Field(
        SecretStr(""),
        description="Send this bearer token. Set it in CONVOY_TOKEN to hide it from other users "
        "of the machine.",
    )
    tls: bool = Field(
        False, description="Use TLS, and trust the certificate authorities that gRPC trusts."
    )
    tls_ca: Annotated[Path | None, Option("FILE")] = Field(
        None, description="Use TLS, and trust the certificate authorities in this PEM file."
    )
    client_certificate: Annotated[Path | None, Option("FILE")] = Field(
        None,
        description="Present the certificate in this PEM file to a server that requires one "
        "(mTLS).",
    )
    client_key: Annotated[Path | None, Option("FILE")] = Field(
        None, description="Read the private key of --client-certificate from this PEM file."
    )

    @field_validator("*")
    @classmethod
    def _check_text(cls, value: object) -> object:
        # Names, addresses and tokens go to the server; only paths may hold any bytes.
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ValueError("the text is not valid UTF-8") from error
        return value

    @field_validator("token")
    @classmethod
    def _check_token(cls, token: SecretStr) -> SecretStr:
        from convoy.client import token_metadata

        token_metadata(token.get_secret_value())
        return token

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """The metadata of each call."""
        from convoy.client import token_metadata

        return token_metadata(self.token.get_secret_value())

    def credentials(self) -> grpc.ChannelCredentials | None:
        """
        Return the credentials for a channel; None if it is not encrypted.

        Raises:
            UsageError: If a file cannot be read or is not what its option needs, or the key or the
                certificate is missing.
        """
        # A file of either kind implies TLS; --tls alone trusts gRPC's own authorities.
        if not (self.tls or self.tls_ca or self.client_certificate or self.client_key):
            return None
        import grpc

        self._check_files()
        files = (self.tls_ca, self.client_key, self.client_certificate)
        return grpc.ssl_channel_credentials(
            *(file.read_bytes() if file else None for file in files)
        )

    def _check_files(self) -> None:
        """Refuse what gRPC would only log, in its own words, at the first call."""
        ca, certificate, key = self.tls_ca, self.client_certificate, self.client_key
        if bool(certificate) != bool(key):
            raise UsageError("--client-certificate and --client-key need each other")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if ca:
            with _reading(f"{ca} as a PEM certificate"):
                context.load_verify_locations(ca)
        if certificate:
            with _reading(f"{certificate} and {key} as a PEM certificate and its unencrypted key"):
                context.load_cert_chain(certificate, key, _no_password)


class ConnectionSettings(AddressSettings, CredentialSettings):
    """The settings of every command that calls a server."""


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:  # an OSError whose text only OpenSSL's authors understand
        raise UsageError(f"cannot read {what}") from error
    except OSError as error:
        raise UsageError(f"cannot read {what}: {error.strerror}") from error


def _no_password() -> NoReturn:
    """Refuse an encrypted key; OpenSSL would otherwise ask for its password on the terminal."""
    raise ssl.SSLError
