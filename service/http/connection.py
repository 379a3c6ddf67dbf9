"""One HTTP connection: uvicorn's, with a place among the others, a clock, and a strict parser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from convoy.service.errors import (
    InvalidArgumentError,
    RequestTooSlowError,
    TooManyConnectionsError,
)
from convoy.service.http.limits import HttpLimits
from convoy.service.http.places import Place
from convoy.service.http.responses import error_response

PROBES = ("/v2/health/live", "/v2/health/ready", "/metrics")
"""Suffixes of the paths that connections beyond the limit may request."""

PLAIN_CHUNK_BYTES = 24
"""Maximum bytes of a chunk in addition to its data: 20 digits (h11's limit) and two line ends."""

RETRY_S = 1.0
"""Seconds after which a client refused for too many connections may retry."""


class _StrictParser(h11.Connection):
    """
    A parser that also refuses headers which are too long, and a body of two lengths.

    Args:
        max_header_bytes: Maximum size in bytes of the headers of one request, and of the
            extensions and trailers of its chunks.
    """

    def __init__(self, max_header_bytes: int) -> None:
        # It limits only headers that have not arrived completely.
        super().__init__(h11.SERVER, max_header_bytes)
        self._max_header_bytes = max_header_bytes
        self._chunk_bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        before = len(self._receive_buffer)
        event = super().next_event()
        self._count_chunk_bytes(event, before - len(self._receive_buffer))
        if isinstance(event, h11.Request):
            if _header_bytes(event) > self._max_header_bytes:
                raise h11.RemoteProtocolError("headers too long")
            names = {name for name, _ in event.headers}
            # A proxy that believes the other length would take the rest of the body for a request,
            # or a request for the rest of the body (RFC 9112, section 6.1).
            if {b"content-length", b"transfer-encoding"} <= names:
                raise h11.RemoteProtocolError("content-length beside transfer-encoding")
        return event

    def _count_chunk_bytes(
        self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED], consumed: int
    ) -> None:
        """Refuse extensions and trailers of chunks that are too long; h11 drops extensions."""
        if isinstance(event, h11.Request):
            self._chunk_bytes = 0
            return
        data = len(event.data) if isinstance(event, h11.Data) else 0
        self._chunk_bytes += max(0, consumed - data - PLAIN_CHUNK_BYTES)
        if self._chunk_bytes > self._max_header_bytes:
            raise h11.RemoteProtocolError("chunk extensions or trailers too long")


def _header_bytes(request: h11.Request) -> int:
    """Return the size of a request's first line and headers, as they are usually written."""
    first = len(request.method) + len(request.target) + len("  HTTP/1.1\r\n")
    return first + sum(len(name) + len(value) + len(": \r\n") for name, value in request.headers)


class Connection(H11Protocol):
    """
    A connection that may be closed for another one while it is silent, and is if a request is late.

    uvicorn only limits the time between two requests: a client that never sends one, or never ends
    its headers, would stay connected for ever.

    Args:
        place: Its place, which is freed at its end.
        refused: Called with the reason when the connection is closed because of a limit.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        *,
        limits: HttpLimits,
        place: Place,
        refused: Callable[[str], None],
    ) -> None:
        super().__init__(config, state, app_state={})
        self.conn = _StrictParser(limits.max_header_bytes)
        if place.probes_only:
            self.app = _ProbesOnly(self.app, refused)
        self._limits = limits
        self._place = place
        self._refused = refused
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Not `close`, which would wait for a client that reads nothing.
        self._place.close = transport.abort
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        self._place.free()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The headers are complete: from here on `BodyReader` watches the time.
        if self.cycle and not self.cycle.response_complete:
            self._stop_clock()
            self._place.busy()
        # A part of the headers of a later request has arrived.
        elif self._clock is None and not self.transport.is_closing():
            self._start_clock()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Otherwise it has gone on with the next request, which was there already.
        if self.cycle.response_complete:
            self._place.silent()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._place.silent()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.cycle and not self.cycle.response_complete:
            self._place.busy()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, and close: nobody knows where the next request begins."""
        self._refused(InvalidArgumentError.reason)
        # The request before it is still being answered: end that call like a disconnect.
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # An answer that has begun, or ended, leaves no room for another one.
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _start_clock(self) -> None:
        self._clock = self.loop.call_later(self._limits.request_timeout_s, self._late)

    def _stop_clock(self) -> None:
        if self._clock:
            self._clock.cancel()
            self._clock = None

    def _late(self) -> None:
        self._refused(RequestTooSlowError.reason)
        self.transport.close()


class _ProbesOnly:
    """Lets a connection beyond the limit request health and metrics, and refuses the rest."""

    def __init__(self, app: ASGIApp, refused: Callable[[str], None]) -> None:
        self._app = app
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # By its end: a root path may come before it.
        if scope["path"].endswith(PROBES):
            await self._app(scope, receive, send)
            return
        error = TooManyConnectionsError("too many open connections", RETRY_S)
        self._refused(error.reason)
        answer = error_response(error)
        answer.headers["connection"] = "close"
        await answer(scope, receive, send)
