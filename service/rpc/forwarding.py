"""Forwarding of calls, as bytes, from a front to the gRPC server of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from convoy.service.errors import ServiceError
from convoy.service.rpc.unary import Context, Metadata

_OF_CONNECTION = ("user-agent", "content-type", "te")
"""Metadata of a client's connection, which has no meaning on another."""


def forwarding_handler(channel: grpc.aio.Channel, path: str) -> Any:
    """
    Return a handler that forwards calls of the method *path*, of whatever kind, over *channel*.

    On the wire, a single message is a stream of one.
    """
    call: Any = channel.stream_stream(path, request_serializer=None, response_deserializer=None)

    async def forward(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        metadata = _forwarded(context.invocation_metadata() or ())
        sent = _Sent(requests)
        answers = call(sent, metadata=metadata, timeout=context.time_remaining())
        try:
            async for answer in answers:
                yield answer
            context.set_trailing_metadata(tuple(await answers.trailing_metadata() or ()))
        except grpc.aio.AioRpcError as error:
            await _abort(context, error)
        except asyncio.CancelledError:
            # gRPC cancels a call whose messages cannot be read.
            if sent.error:
                raise sent.error from None
            raise
        finally:
            answers.cancel()

    return grpc.stream_stream_rpc_method_handler(
        forward, request_deserializer=bytes, response_serializer=bytes
    )


class _Sent:
    """
    The messages of a client.

    Attributes:
        error: The error that ended them, such as that for a message that does not arrive in time.
    """

    def __init__(self, messages: AsyncIterator[bytes]) -> None:
        self._messages = messages
        self.error: ServiceError | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._messages)
        except ServiceError as error:
            self.error = error
            raise


def _forwarded(metadata: Metadata) -> Metadata:
    return tuple(
        (key, value)
        for key, value in metadata
        if key not in _OF_CONNECTION and not key.startswith("grpc-")
    )


async def _abort(context: Context, error: grpc.aio.AioRpcError) -> None:
    trailing = tuple(error.trailing_metadata() or ())
    await context.abort(error.code(), error.details() or "", trailing)
