"""Settings of a connection to a server: address, token, TLS."""

from __future__ import annotations

from pathlib import Path

import grpc
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, CliImplicitFlag

from convoy.client import DEFAULT_ADDRESS, token_metadata


class ConnectionSettings(BaseSettings):
    """The settings of every command that calls a server."""

    address: str = Field(DEFAULT_ADDRESS, description="Connect to the gRPC port of this host:port.")
    token: SecretStr = Field(
        SecretStr(""),
        description="Send this bearer token, if the server requires one; set it in CONVOY_TOKEN to "
        "hide it from other users of the machine.",
    )
    tls: CliImplicitFlag[bool] = Field(
        False, description="Use TLS, and trust the authorities that gRPC trusts."
    )
    tls_ca: Path | None = Field(
        None, description="Use TLS, and trust the authorities in this PEM file."
    )
    client_certificate: Path | None = Field(
        None,
        description="Present the certificate in this PEM file, if the server requires one (mTLS).",
    )
    client_key: Path | None = Field(
        None, description="Read the key of --client-certificate from this PEM file."
    )

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """The metadata of each call."""
        return token_metadata(self.token.get_secret_value())

    def credentials(self) -> grpc.ChannelCredentials | None:
        """
        Return the credentials for a channel; None if it is not encrypted.

        Raises:
            OSError: If a file cannot be read.
        """
        # A file of either kind implies TLS; --tls alone trusts gRPC's own authorities.
        if not (self.tls or self.tls_ca or self.client_certificate):
            return None
        files = (self.tls_ca, self.client_key, self.client_certificate)
        return grpc.ssl_channel_credentials(
            *(file.read_bytes() if file else None for file in files)
        )
