"""The guard of the services that libraries implement, health and reflection, which open no `Call`.

It checks rights, and then reads and parses messages within the call: grpc itself would wait for
them without a limit, answer one that cannot be parsed with the name of a Python class, and log a
traceback for every one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from convoy.service.errors import InvalidArgumentError, RequestTooSlowError, ServiceError
from convoy.service.rpc.backlog import Backlog
from convoy.service.rpc.receiving import Readers, Receiving
from convoy.service.rpc.unary import Context, abort, abort_without_message
from convoy.service.security.access import Access
from convoy.service.telemetry.logs import Origin

_OUR_STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


def guarded(
    access: Access,
    backlog: Backlog,
    readers: Readers,
    handler: Any,
    details: grpc.HandlerCallDetails,
) -> Any:
    """
    Return *handler* behind the guard, or a refusal if the client lacks the right.

    Args:
        backlog: Counts calls that are refused.
        readers: Read messages.
    """
    # It opens a `Call` for each request, which is refused by itself, and reads as it likes.
    if details.method == _OUR_STREAM:
        return handler
    method = details.method.rsplit("/", 1)[1]
    origin = Origin.from_headers(details.invocation_metadata or ())
    try:
        access.check(method, origin.token_digest)
    except ServiceError as error:
        return _refusal(error, backlog, origin)
    guard = _with_streams if handler.stream_stream else _with_one_message
    return guard(handler, readers.of(method), origin)


def _refusal(error: ServiceError, backlog: Backlog, origin: Origin) -> Any:
    """Return a handler of any method that answers with *error*."""

    async def answer(requests: AsyncIterator[bytes], context: Context) -> None:
        with backlog:
            await abort(context, error, origin)

    return grpc.stream_stream_rpc_method_handler(answer)


def _with_one_message(handler: Any, reader: Receiving, origin: Origin) -> Any:
    """Guard a method such as health's `Check` and `Watch`."""
    respond = handler.unary_unary or handler.unary_stream

    async def answer(_: object, context: Context) -> Any:
        try:
            if (message := await reader.read(context)) is None:
                await abort_without_message(context)
            request = handler.request_deserializer(message)
        except (DecodeError, RequestTooSlowError) as error:
            await abort(context, _error(error), origin)
        return await respond(request, context)

    make: Any = grpc.stream_unary_rpc_method_handler
    if handler.unary_stream:
        make = grpc.stream_stream_rpc_method_handler
    return make(answer, response_serializer=handler.response_serializer)


def _with_streams(handler: Any, reader: Receiving, origin: Origin) -> Any:
    """Guard a method such as reflection's."""

    async def parsed(context: Context) -> AsyncIterator[Any]:
        while (message := await reader.read(context)) is not None:
            yield handler.request_deserializer(message)

    async def answer(_: object, context: Context) -> AsyncIterator[Any]:
        try:
            async with aclosing(handler.stream_stream(parsed(context), context)) as responses:
                async for response in responses:
                    yield response
        except (DecodeError, RequestTooSlowError) as error:
            await abort(context, _error(error), origin)

    return grpc.stream_stream_rpc_method_handler(
        answer, response_serializer=handler.response_serializer
    )


def _error(error: DecodeError | RequestTooSlowError) -> ServiceError:
    if isinstance(error, RequestTooSlowError):
        return error
    return InvalidArgumentError(
        "the message is not a valid request of this method; see the .proto files"
    )
