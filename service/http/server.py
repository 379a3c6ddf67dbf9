"""The HTTP side: health and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.errors import HTTP_STATUS, ModelNotReadyError, ServiceError, StartError
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.sockets import listen

STOP_TIMEOUT_S = 1
"""Most time that answers may take to leave once the server stops, in seconds."""


def create_app(lifecycle: Lifecycle, metrics: Metrics) -> Starlette:
    """Make the application: `/metrics`, `/v2/health/live`, `/v2/health/ready`."""

    async def live(request: Request) -> Response:
        return Response()

    async def ready(request: Request) -> Response:
        if not lifecycle.ready:
            raise ModelNotReadyError(f"the server is {lifecycle.phase.value}")
        return Response()

    async def expose(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"content-type": content_type})

    return Starlette(
        routes=[
            Route("/metrics", expose),
            Route("/v2/health/live", live),
            Route("/v2/health/ready", ready),
        ],
        exception_handlers={ServiceError: error_response},
    )


def error_response(request: Request, error: Exception) -> Response:
    """Tell a `ServiceError` as AIP-193 has it."""
    assert isinstance(error, ServiceError)
    code = HTTP_STATUS[error.status]
    return JSONResponse(
        {
            "error": {
                "code": code.value,
                "status": error.status,
                "reason": error.reason,
                "message": str(error),
            }
        },
        status_code=code,
    )


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves the process's signals alone: they are `service.app`'s."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves *app*; `start` and `stop` once each."""

    def __init__(self, app: Starlette) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            # A client that does not read its answers must not hold the end of the server.
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
            # Out of file descriptors, asyncio logs a traceback for each of these, each second.
            backlog=64,
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
