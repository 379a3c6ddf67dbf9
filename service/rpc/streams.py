"""An interceptor that ends open streams when the server stops.

Clients keep a health `Watch` or a reflection stream open without limit. Each would delay the
server's stop until its grace period has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc

from convoy.service.errors import ServerBusyError
from convoy.service.lifecycle import BUSY_RETRY_S
from convoy.service.rpc.backlog import Backlog
from convoy.service.rpc.unary import Context, Continuation, abort
from convoy.service.telemetry.logs import Origin

MAX_OPEN = 1024
"""Maximum number of streams of health and reflection, which strangers may open; one takes 30 KB."""

_LIMITED = ("/grpc.health.", "/grpc.reflection.")


class StreamInterceptor(grpc.aio.ServerInterceptor):
    """
    Ends the streams that are open when `end` is called, with status OK.

    Args:
        backlog: Counts the streams as calls.

    Attributes:
        max_open: Maximum number of open streams of health and reflection.
    """

    def __init__(self, backlog: Backlog) -> None:
        self._ending = asyncio.Event()
        self._backlog = backlog
        self._open = 0
        self.max_open = MAX_OPEN

    def end(self) -> None:
        self._ending.set()

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handlers of streams; return the others unchanged."""
        handler = await continuation(handler_call_details)
        # No service has this method; gRPC answers UNIMPLEMENTED.
        if handler is None:
            return handler
        limited = handler_call_details.method.startswith(_LIMITED)
        codecs = handler.request_deserializer, handler.response_serializer
        # Health's `Watch`: one request, and responses until the client disconnects.
        if handler.unary_stream is not None:
            watch = self._until_ending(handler.unary_stream, limited=limited)
            return grpc.unary_stream_rpc_method_handler(watch, *codecs)
        # Reflection and `ModelStreamInfer`: a response to each request.
        if handler.stream_stream is not None:
            converse = self._with_ending_requests(handler.stream_stream, limited=limited)
            return grpc.stream_stream_rpc_method_handler(converse, *codecs)
        return handler

    @asynccontextmanager
    async def _opened(self, context: Context, *, limited: bool) -> AsyncIterator[None]:
        """Count an open stream; refuse one of a *limited* service if there are too many."""
        with self._backlog:
            if limited and self._open >= self.max_open:
                error = ServerBusyError(
                    f"{self._open} streams are open already; close one, or try again later",
                    BUSY_RETRY_S,
                )
                origin = Origin.from_headers(context.invocation_metadata() or ())
                await abort(context, error, origin)
            self._open += limited
            try:
                yield
            finally:
                self._open -= limited

    def _until_ending(
        self, write_all: Callable[..., Awaitable[None]], *, limited: bool
    ) -> Callable[..., Any]:
        """Cancel a handler that never returns by itself, such as health's `Watch`."""

        async def behavior(request: Any, context: Context) -> None:
            async with self._opened(context, limited=limited):
                writing = asyncio.ensure_future(write_all(request, context))
                ending = asyncio.ensure_future(self._ending.wait())
                try:
                    await asyncio.wait({writing, ending}, return_when=asyncio.FIRST_COMPLETED)
                    if writing.done():
                        writing.result()  # raises the handler's error
                finally:
                    writing.cancel()
                    ending.cancel()

        return behavior

    def _with_ending_requests(
        self, converse: Callable[..., AsyncGenerator[Any, None]], *, limited: bool
    ) -> Callable[..., Any]:
        """End the requests of a handler as if the client had sent its last one."""

        async def requests(incoming: AsyncIterator[Any]) -> AsyncIterator[Any]:
            ending = asyncio.ensure_future(self._ending.wait())
            coming: asyncio.Future[Any] | None = None
            try:
                while True:
                    coming = asyncio.ensure_future(anext(incoming, None))
                    await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
                    # The server stops, or the client has sent its last request.
                    if not coming.done() or (request := coming.result()) is None:
                        return
                    yield request
            finally:
                ending.cancel()
                # The handler may end the stream while a request is awaited.
                if coming is not None:
                    coming.cancel()

        async def behavior(incoming: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            # Closed as soon as the client disconnects, so that no work continues for it.
            async with (
                self._opened(context, limited=limited),
                aclosing(converse(requests(incoming), context)) as responses,
            ):
                async for response in responses:
                    yield response

        return behavior
