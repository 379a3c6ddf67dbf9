"""The guard of the services that libraries implement, health and reflection, which open no `Call`.

It checks rights, and parses messages within the call: grpc itself would answer a message that
cannot be parsed with the name of a Python class, and log a traceback for every one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from convoy.service.errors import InvalidArgumentError, ServiceError
from convoy.service.rpc.backlog import Backlog
from convoy.service.rpc.unary import Context, abort
from convoy.service.security.access import Access
from convoy.service.telemetry.logs import Origin


def guarded(
    access: Access, backlog: Backlog, handler: Any, details: grpc.HandlerCallDetails
) -> Any:
    """
    Return *handler* behind the guard, or a refusal if the client lacks the right.

    Args:
        backlog: Counts calls that are refused.
    """
    method = details.method.rsplit("/", 1)[1]
    # It opens a `Call` for each request, which is refused by itself.
    if method == "ModelStreamInfer":
        return handler
    origin = Origin.from_headers(details.invocation_metadata or ())
    try:
        access.check(method, origin.token_digest)
    except ServiceError as error:
        return _refusal(error, backlog, origin)
    return _with_streams(handler, origin) if handler.stream_stream else _unary(handler, origin)


def _refusal(error: ServiceError, backlog: Backlog, origin: Origin) -> Any:
    """Return a handler of any method that answers with *error*."""

    async def answer(requests: AsyncIterator[bytes], context: Context) -> None:
        with backlog:
            await abort(context, error, origin)

    return grpc.stream_stream_rpc_method_handler(answer)


def _unary(handler: Any, origin: Origin) -> Any:
    """Parse the request of a method such as health's `Check` and `Watch` within the call."""
    respond, parse = handler.unary_unary or handler.unary_stream, handler.request_deserializer

    async def answer(message: bytes, context: Context) -> Any:
        try:
            request = parse(message)
        except DecodeError:
            await abort(context, _unreadable(), origin)
        return await respond(request, context)

    make: Any = grpc.unary_unary_rpc_method_handler
    if handler.unary_stream:
        make = grpc.unary_stream_rpc_method_handler
    return make(answer, response_serializer=handler.response_serializer)


def _with_streams(handler: Any, origin: Origin) -> Any:
    """Parse the requests of a method such as reflection's within the call."""
    parse = handler.request_deserializer

    async def parsed(messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for message in messages:
            yield parse(message)

    async def answer(messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
        try:
            async with aclosing(handler.stream_stream(parsed(messages), context)) as responses:
                async for response in responses:
                    yield response
        except DecodeError:
            await abort(context, _unreadable(), origin)

    return grpc.stream_stream_rpc_method_handler(
        answer, response_serializer=handler.response_serializer
    )


def _unreadable() -> ServiceError:
    return InvalidArgumentError("the message is not the request of this method")
