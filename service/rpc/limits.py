"""What one connection, and one message on it, may cost."""

from __future__ import annotations

from dataclasses import dataclass

KEEPALIVE_TIMEOUT_S = 20.0
"""How long a client may take to answer a ping, in seconds: gRPC's own default."""

MAX_STREAMS = {"grpcio": 1024, "native": 256}
"""
Calls at once on a connection, by transport, unless the operator says otherwise.

What is beyond waits in the clients, which is where an overload does least harm. grpcio's server
resets some of these calls in the moment when another one ends, so that they fail with UNAVAILABLE:
there the limit is one that few clients come to.
"""

_FOREVER_MS = 2**31 - 1
"""What gRPC takes for never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """
    Limits of each connection.

    Attributes:
        max_message_bytes: Largest request; grpcio refuses larger ones itself.
        max_metadata_bytes: Metadata of one call, counted as HTTP/2 counts a list of headers.
        max_streams: Calls at once; more wait in the client.
        max_age_s: After this time a client is sent to a new connection; 0 is never.
        max_idle_s: A connection without calls is closed after this time; 0 is never.
        keepalive_s: A silent client is pinged after this time; 0 is never.
    """

    max_message_bytes: int
    max_metadata_bytes: int
    max_streams: int
    max_age_s: float
    max_idle_s: float
    keepalive_s: float

    @property
    def keepalive_ms(self) -> int:
        """`keepalive_s` in milliseconds; gRPC's own never for 0."""
        return _milliseconds(self.keepalive_s)

    @property
    def keepalive_timeout_ms(self) -> int:
        """`KEEPALIVE_TIMEOUT_S` in milliseconds."""
        return _milliseconds(KEEPALIVE_TIMEOUT_S)

    @property
    def options(self) -> tuple[tuple[str, int], ...]:
        """As options of a grpcio server."""
        return (
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # The first is a hint, between them gRPC refuses by chance, from the second on always.
            ("grpc.max_metadata_size", self.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.max_metadata_bytes),
            ("grpc.max_concurrent_streams", self.max_streams),
            ("grpc.max_connection_age_ms", _milliseconds(self.max_age_s)),
            ("grpc.max_connection_idle_ms", _milliseconds(self.max_idle_s)),
            ("grpc.keepalive_time_ms", self.keepalive_ms),
            ("grpc.keepalive_permit_without_calls", True),
            ("grpc.keepalive_timeout_ms", self.keepalive_timeout_ms),
            # Or else it waits for the answer to a ping for a minute, its default for any ping.
            ("grpc.http2.ping_timeout_ms", self.keepalive_timeout_ms),
        )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000) if seconds else _FOREVER_MS
