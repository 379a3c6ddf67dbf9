"""Limits of a connection, and of the messages on it."""

from __future__ import annotations

from dataclasses import dataclass

HANDSHAKE_TIMEOUT_S = 10.0
"""Time for a new connection to say that it speaks TLS and HTTP/2, in seconds."""

WINDOW_BYTES = 256 * 1024
"""
Bytes of a call that arrive before its message is read.

Most images and tensors are smaller. With HTTP/2's 64 KiB, a request of 150 KB takes a tenth more of
the processor, and one more trip over the network.
"""

MAX_STREAMS = {"grpcio": 1024, "native": 256}
"""
Default limit of concurrent calls on a connection, by transport.

Further calls wait in the client, where an overload does least harm. grpcio's server resets some of
these calls at the moment when another one ends, so that they fail with UNAVAILABLE. Therefore its
limit is one that few clients reach.
"""

UNLIMITED = 2**31 - 1
"""INT_MAX: no limit to gRPC, and never as a time in milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """
    Limits of each connection.

    Attributes:
        max_connections: Open connections; grpcio itself closes further ones.
        max_message_bytes: Largest request; grpcio itself refuses larger ones.
        message_timeout_s: Time for a message to arrive whole, over grpcio.
        max_slow: Calls whose message may take long to arrive, all connections together.
        max_metadata_bytes: Metadata of one call, counted as HTTP/2 counts a list of headers.
        max_streams: Concurrent calls; further ones wait in the client.
        max_age_s: Time after which a client is sent to a new connection; 0 disables it.
        max_idle_s: Time after which a connection without calls is closed; 0 disables it.
        keepalive_s: Time after which a silent client is pinged; 0 disables it.
        keepalive_timeout_s: Time that a client has to answer a ping.
        keepalive_without_calls: Whether clients without calls are pinged, too.
        max_pings_without_data: Pings of this server without data between them; 0 disables it.
        min_ping_interval_s: Time between two pings of a client that sends no data.
        max_ping_strikes: Pings that come earlier until the connection is closed; 0 disables it.
    """

    max_connections: int
    max_message_bytes: int
    message_timeout_s: float
    max_slow: int
    max_metadata_bytes: int
    max_streams: int
    max_age_s: float
    max_idle_s: float
    keepalive_s: float
    keepalive_timeout_s: float = 20.0
    keepalive_without_calls: bool = True
    max_pings_without_data: int = 0
    min_ping_interval_s: float = 1.0
    max_ping_strikes: int = 2

    @property
    def keepalive_ms(self) -> int:
        """`keepalive_s` in milliseconds; gRPC's value for never if it is 0."""
        return _milliseconds(self.keepalive_s)

    @property
    def keepalive_timeout_ms(self) -> int:
        """`keepalive_timeout_s` in milliseconds."""
        return _milliseconds(self.keepalive_timeout_s)

    @property
    def options(self) -> tuple[tuple[str, int], ...]:
        """The options of a grpcio server."""
        return (
            *self._connection_option,
            ("grpc.server_handshake_timeout_ms", _milliseconds(HANDSHAKE_TIMEOUT_S)),
            # Otherwise gRPC receives up to 16 MiB of each call that nobody has read yet. It asks
            # for the rest of a message when that is read.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # Responses are the server's own: their size needs no limit.
            ("grpc.max_send_message_length", -1),
            # gRPC refuses some calls above the first limit and all above the second.
            ("grpc.max_metadata_size", self.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.max_metadata_bytes),
            ("grpc.max_concurrent_streams", self.max_streams),
            # Above 1,000 calls that wait for a handler, gRPC would end some without a reason. The
            # limits on streams and connections bound their number.
            ("grpc.server.max_pending_requests", UNLIMITED),
            ("grpc.server.max_pending_requests_hard_limit", UNLIMITED),
            # By default, gRPC also ends calls that wait for 30 s, and never counts their end.
            ("grpc.server_max_unrequested_time_in_server", UNLIMITED),
            ("grpc.max_connection_age_ms", _milliseconds(self.max_age_s)),
            ("grpc.max_connection_idle_ms", _milliseconds(self.max_idle_s)),
            ("grpc.keepalive_time_ms", self.keepalive_ms),
            ("grpc.keepalive_permit_without_calls", self.keepalive_without_calls),
            ("grpc.http2.max_pings_without_data", self.max_pings_without_data),
            (
                "grpc.http2.min_ping_interval_without_data_ms",
                round(self.min_ping_interval_s * 1000),
            ),
            ("grpc.http2.max_ping_strikes", self.max_ping_strikes),
            ("grpc.keepalive_timeout_ms", self.keepalive_timeout_ms),
            # Pings have a timeout of their own, a minute by default, which would apply instead.
            ("grpc.http2.ping_timeout_ms", self.keepalive_timeout_ms),
        )

    @property
    def _connection_option(self) -> tuple[tuple[str, int], ...]:
        # gRPC aborts the process for UNLIMITED, its own word for no limit.
        if self.max_connections == UNLIMITED:
            return ()
        return (("grpc.max_allowed_incoming_connections", self.max_connections),)


BEHIND_FRONTS = ConnectionLimits(
    max_connections=UNLIMITED,
    max_message_bytes=UNLIMITED,
    message_timeout_s=86_400.0,
    max_slow=UNLIMITED,
    max_metadata_bytes=UNLIMITED,
    max_streams=UNLIMITED,
    max_age_s=0.0,
    max_idle_s=0.0,
    keepalive_s=0.0,
)
"""Limits of the server behind the fronts, which have enforced the limits of clients."""


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000) if seconds else UNLIMITED
