"""Limits of HTTP connections, and what is answered beyond them."""

from __future__ import annotations

from dataclasses import dataclass

KEEP_ALIVE_S = 75
"""Time that a connection without requests stays open, in seconds: above balancers' one minute."""

PROBE_PLACES = 64
"""Connections beyond the limit, for health and metrics: several times as many as are accepted at
once, so that a probe is read before its connection is closed for another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """
    Limits of connections.

    Attributes:
        max_connections: Maximum number of open connections, in addition to `PROBE_PLACES`.
        max_per_address: Maximum number of open connections of one client address; 0 disables it.
        max_header_bytes: Maximum size in bytes of the headers of one request.
        request_timeout_s: Longest time in seconds from the opening of a connection, or from the
            first byte of a later request, to the end of the headers; and from there to the end of
            the body. Also for TLS's handshake.
    """

    max_connections: int
    max_per_address: int = 0
    max_header_bytes: int
    request_timeout_s: float
