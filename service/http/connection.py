"""The HTTP connection: uvicorn's, with limits on what clients may hold that say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from uvicorn.protocols.http.h11_impl import H11Protocol

from convoy.service.errors import RequestTooSlowError, TooManyConnectionsError


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """
    Limits of connections.

    Attributes:
        max_connections: Open at once; further ones are closed.
        max_header_bytes: Headers of one request.
        request_timeout_s: From the opening of a connection, or the first byte of a later request,
            to the end of its headers; and from there to the end of its body.
    """

    max_connections: int
    max_header_bytes: int
    request_timeout_s: float


def limited(limits: HttpLimits, refused: Callable[[str], None]) -> type[H11Protocol]:
    """
    Make the class of connections within *limits*.

    Args:
        refused: Told the reason whenever one is closed for its limits.
    """

    class LimitedProtocol(H11Protocol):
        """
        Closes connections that are too many, and those whose request does not come.

        uvicorn has a clock for the time between two requests only: a client that never sends one,
        or never ends its headers, would stay for ever.
        """

        _clock: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.max_connections:
                self._refuse(TooManyConnectionsError.reason)
            else:
                self._start_clock()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_clock()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle and not self.cycle.response_complete:
                self._stop_clock()
            elif self._clock is None and not self.transport.is_closing():
                self._start_clock()

        def _start_clock(self) -> None:
            late = RequestTooSlowError.reason
            self._clock = self.loop.call_later(limits.request_timeout_s, self._refuse, late)

        def _stop_clock(self) -> None:
            if self._clock:
                self._clock.cancel()
                self._clock = None

        def _refuse(self, reason: str) -> None:
            refused(reason)
            self.transport.close()

    return LimitedProtocol
