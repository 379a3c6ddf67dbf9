"""The first message of the engine to a front."""

from __future__ import annotations

from pydantic import BaseModel

from convoy.service.security.shared_credentials import Contents


class Start(BaseModel):
    """
    The place of a front.

    Attributes:
        settings: The settings of the server, as JSON.
        fronts: Number of fronts, which share the limits of the server.
        address: Address to listen on.
        port: Port that all fronts share.
        engine: Path of the socket of the engine's gRPC server.
        credentials: The credentials in use when the front starts.
    """

    settings: str
    fronts: int
    address: str
    port: int
    engine: str
    credentials: Contents
