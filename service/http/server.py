"""The HTTP server: uvicorn, on our sockets, with limits on connections and no signal handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from convoy.service.errors import (
    InvalidArgumentError,
    RequestTooSlowError,
    StartError,
    TooManyConnectionsError,
)
from convoy.service.machine.sockets import listen
from convoy.service.security.tls import Tls

STOP_TIMEOUT_S = 1
"""Longest time to send answers once the server stops, in seconds."""

KEEP_ALIVE_S = 75
"""Time that a connection without requests stays open, in seconds: above balancers' one minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """
    Limits of connections.

    Attributes:
        max_connections: Most open connections; further ones are closed.
        max_header_bytes: Most bytes of the headers of one request.
        request_timeout_s: Longest time in seconds from the opening of a connection, or from the
            first byte of a later request, to the end of the headers; and from there to the end of
            the body.
    """

    max_connections: int
    max_header_bytes: int
    request_timeout_s: float


class _Server(uvicorn.Server):
    """uvicorn's server without signal handlers, which belong to `convoy.service.process`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """
    Serves *app*; `start` and `stop` once each.

    Args:
        limits: Limits of connections.
        refused: Called with the reason when a connection is closed because of a limit.
        tls: Certificates of the server; None is plain HTTP.
    """

    def __init__(
        self,
        app: Starlette,
        limits: HttpLimits,
        *,
        tls: Tls | None,
        refused: Callable[[str], None],
    ) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            http=_limited(limits, refused),
            ws="none",
            h11_max_incomplete_event_size=limits.max_header_bytes,
            log_config=None,
            # Its warnings are about requests, one line for each: they are counted instead.
            log_level="error",
            access_log=False,
            # Nothing here uses the client's address or scheme.
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            # A client that does not read its answers must not delay the stop.
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
            # Without free file descriptors, asyncio logs a traceback for each of these per second.
            backlog=64,
            ssl_context_factory=(lambda *_: tls.context) if tls else None,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self, address: str, port: int) -> int:
        """
        Listen.

        Returns:
            The port; a free one if *port* is 0.

        Raises:
            StartError: If the port is not available.
        """
        try:
            listener = listen(address, port)
        except OSError as error:
            raise StartError(f"cannot listen for HTTP on {address}:{port}: {error}") from error
        # The listener accepts connections from here on: the kernel queues them until uvicorn runs.
        self._task = asyncio.create_task(self._server.serve([listener]), name="http")
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Finish the requests in flight, and close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


class _StrictParser(h11.Connection):
    """A parser that also refuses a request which states the length of its body in two ways."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            # A proxy that believes the other length would take the rest of the body for a request,
            # or a request for the rest of the body (RFC 9112, section 6.1).
            if {b"content-length", b"transfer-encoding"} <= names:
                raise h11.RemoteProtocolError("content-length beside transfer-encoding")
        return event


def _limited(limits: HttpLimits, refused: Callable[[str], None]) -> type[H11Protocol]:
    """
    Make the class of connections with *limits*.

    Args:
        refused: Called with the reason when a connection is closed because of a limit.
    """

    class LimitedProtocol(H11Protocol):
        """
        Closes connections beyond the limit, and those with a request that does not arrive in time.

        uvicorn only limits the time between two requests: a client that never sends one, or never
        ends its headers, would stay connected for ever.
        """

        _clock: asyncio.TimerHandle | None = None

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.conn = _StrictParser(h11.SERVER, limits.max_header_bytes)

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # `connections` includes this one.
            if len(self.connections) > limits.max_connections:
                self._refuse(TooManyConnectionsError.reason)
            else:
                self._start_clock()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_clock()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            # The headers are complete: from here on `BodyReader` watches the time.
            if self.cycle and not self.cycle.response_complete:
                self._stop_clock()
            # A part of the headers of a later request has arrived.
            elif self._clock is None and not self.transport.is_closing():
                self._start_clock()

        def send_400_response(self, msg: str) -> None:
            """Refuse what is not HTTP, and close: nobody knows where the next request begins."""
            refused(InvalidArgumentError.reason)
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
