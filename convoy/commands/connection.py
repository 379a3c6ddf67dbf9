"""How a command reaches a server: address, token, TLS."""

from __future__ import annotations

from pathlib import Path

import grpc
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, CliImplicitFlag

from convoy.client import DEFAULT_ADDRESS, token_metadata


class ConnectionSettings(BaseSettings):
    """What every command that asks a server can be told."""

    address: str = Field(DEFAULT_ADDRESS, description="host:port of the server's gRPC port.")
    token: SecretStr = Field(
        SecretStr(""),
        description="Bearer token, if the server asks for one; in CONVOY_TOKEN others do not see "
        "it.",
    )
    tls: CliImplicitFlag[bool] = Field(
        False, description="Speak TLS, and trust the authorities that gRPC trusts."
    )
    tls_ca: Path | None = Field(
        None, description="Speak TLS, and trust the authorities in this PEM file."
    )
    client_certificate: Path | None = Field(
        None, description="PEM of a certificate to show, for servers that ask for one (mTLS)."
    )
    client_key: Path | None = Field(None, description="PEM of its key.")

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """What goes with each call."""
        return token_metadata(self.token.get_secret_value())

    def credentials(self) -> grpc.ChannelCredentials | None:
        """
        Credentials for a channel; None if it is not encrypted.

        Raises:
            OSError: If a file cannot be read.
        """
        if not (self.tls or self.tls_ca or self.client_certificate):
            return None
        files = (self.tls_ca, self.client_key, self.client_certificate)
        return grpc.ssl_channel_credentials(
            *(file.read_bytes() if file else None for file in files)
        )
