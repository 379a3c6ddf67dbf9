"""Ends open streams when the server stops.

A health `Watch` and a reflection stream stay open as long as the client likes; left alone, each
would hold the server's stop until its grace has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc

from convoy.service.rpc.unary import Context, Continuation


class StreamInterceptor(grpc.aio.ServerInterceptor):
    """Lets `end` finish every stream that is open then, with status OK."""

    def __init__(self) -> None:
        self._ending = asyncio.Event()

    def end(self) -> None:
        """End every open stream."""
        self._ending.set()

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the two kinds of stream there are here; pass the rest."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        codecs = handler.request_deserializer, handler.response_serializer
        if handler.unary_stream is not None:
            watch = self._until_ending(handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(watch, *codecs)
        if handler.stream_stream is not None:
            converse = self._with_ending_requests(handler.stream_stream)
            return grpc.stream_stream_rpc_method_handler(converse, *codecs)
        return handler

    def _until_ending(self, write_all: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
        """Stop a handler that writes to its context for ever, as health's `Watch` does."""

        async def behavior(request: Any, context: Context) -> None:
            writing = asyncio.ensure_future(write_all(request, context))
            ending = asyncio.ensure_future(self._ending.wait())
            try:
                await asyncio.wait({writing, ending}, return_when=asyncio.FIRST_COMPLETED)
                if writing.done():
                    writing.result()
            finally:
                writing.cancel()
                ending.cancel()

        return behavior

    def _with_ending_requests(
        self, converse: Callable[..., AsyncGenerator[Any, None]]
    ) -> Callable[..., Any]:
        """Let a handler that answers requests see no further request, as if the client was done."""

        async def requests(incoming: AsyncIterator[Any]) -> AsyncIterator[Any]:
            ending = asyncio.ensure_future(self._ending.wait())
            try:
                while True:
                    coming = asyncio.ensure_future(anext(incoming, None))
                    await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done() or (request := coming.result()) is None:
                        coming.cancel()
                        return
                    yield request
            finally:
                ending.cancel()

        async def behavior(incoming: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            # Closed at once when the client leaves, so that no work goes on for nobody.
            async with aclosing(converse(requests(incoming), context)) as responses:
                async for response in responses:
                    yield response

        return behavior
