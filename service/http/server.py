"""The HTTP server: uvicorn, on our sockets and without hands of its own on the signals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from convoy.service.errors import StartError
from convoy.service.http.connection import HttpLimits, limited
from convoy.service.security.tls import Tls
from convoy.service.sockets import listen

STOP_TIMEOUT_S = 1
"""Most time that answers may take to leave once the server stops, in seconds."""

KEEP_ALIVE_S = 75
"""How long a connection without requests stays open, in seconds: longer than balancers' minute."""


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: signals belong to `convoy.service.process`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """
    Serves *app*; `start` and `stop` once each.

    Args:
        limits: Of each connection.
        refused: Told the reason when a connection is closed for its limits.
        tls: What TLS is spoken with; None is plain HTTP.
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
            http=limited(limits, refused),
            ws="none",
            h11_max_incomplete_event_size=limits.max_header_bytes,
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            # A client that does not read its answers must not hold the end of the server.
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
            # Out of file descriptors, asyncio logs a traceback for each of these, each second.
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
            StartError: If the port cannot be had.
        """
        try:
            listener = listen(address, port)
        except OSError as error:
            raise StartError(f"cannot listen for HTTP on {address}:{port}: {error}") from error
        self._task = asyncio.create_task(self._server.serve([listener]), name="http")
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Finish what is in flight and close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
