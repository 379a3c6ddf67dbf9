"""The HTTP server: uvicorn, on our sockets, with limits on connections and no signal handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from convoy.service.errors import StartError
from convoy.service.http.acceptor import Acceptor
from convoy.service.http.connection import Connection
from convoy.service.http.limits import KEEP_ALIVE_S, HttpLimits
from convoy.service.http.places import Place, Places
from convoy.service.machine.sockets import listen, reason
from convoy.service.security.tls import Tls

STOP_TIMEOUT_S = 1
"""Longest time to send answers once the server stops, in seconds."""


class _Server(uvicorn.Server):
    """uvicorn's server without signal handlers, which belong to the main process."""

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
        app: ASGIApp,
        limits: HttpLimits,
        *,
        tls: Tls | None,
        refused: Callable[[str], None],
    ) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            http=H11Protocol,
            ws="none",
            log_config=None,
            # Its warnings are about requests, one line for each: they are counted instead.
            log_level="error",
            access_log=False,
            # Nothing here uses the client's address or scheme.
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            # A client that does not read its answers must not delay the stop.
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
        self._limits = limits
        self._tls = tls
        self._refused = refused
        self._places = Places(limits.max_connections, limits.max_per_address, refused)
        self._server = _Server(config)
        self._acceptor: Acceptor | None = None
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
            why = reason(error, "--http-port")
            raise StartError(f"cannot listen for HTTP on {address}:{port}: {why}") from error
        # uvicorn gets no socket: `Acceptor` accepts the connections.
        self._task = asyncio.create_task(self._server.serve([]), name="http")
        self._acceptor = Acceptor(
            listener,
            self._places,
            self._connection,
            tls=self._tls.context if self._tls else None,
            handshake_timeout_s=self._limits.request_timeout_s,
        )
        self._acceptor.start()
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Finish the requests in flight, and close."""
        if self._acceptor:
            self._acceptor.stop()
            self._acceptor = None
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    def _connection(self, place: Place) -> Connection:
        return Connection(
            self._server.config,
            self._server.server_state,
            limits=self._limits,
            place=place,
            refused=self._refused,
        )
