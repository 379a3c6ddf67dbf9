"""The guard of methods that open no `Call`: health and reflection, and those that a front forwards.

It checks rights, and then reads and parses messages within the call: grpc itself would wait for
them without a limit, answer one that cannot be parsed with the name of a Python class, and log a
traceback for every one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from convoy.service.call import Calls
from convoy.service.errors import InvalidArgumentError, RequestTooSlowError, ServiceError
from convoy.service.rpc.backlog import Backlog
from convoy.service.rpc.receiving import Readers, Receiving
from convoy.service.rpc.unary import SERVICES, Context, abort, abort_without_message
from convoy.service.telemetry.logs import Origin

_OUR_STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


def guarded(
    calls: Calls,
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
        calls.access.check(method, origin.token_digest)
    except ServiceError as error:
        return _refusal(_counted(calls, details.method, origin, error), backlog, origin)
    if not handler.stream_stream:
        return _with_one_message(handler, readers.of(method), origin)
    counted = partial(_counted, calls, details.method, origin)
    return _with_streams(handler, readers.of(method), origin, counted)


def _counted(calls: Calls, path: str, origin: Origin, error: ServiceError) -> ServiceError:
    """Count and log a refused call of our services; no other process knows that a front has it."""
    if not path.startswith(SERVICES):
        return error
    try:
        with calls.open(path.rsplit("/", 1)[1], origin):
            raise error
    except ServiceError as failure:
        return failure


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


def _with_streams(
    handler: Any,
    reader: Receiving,
    origin: Origin,
    counted: Callable[[ServiceError], ServiceError],
) -> Any:
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
            await abort(context, counted(_error(error)), origin)

    return grpc.stream_stream_rpc_method_handler(
        answer, response_serializer=handler.response_serializer
    )


def _error(error: DecodeError | RequestTooSlowError) -> ServiceError:
    if isinstance(error, RequestTooSlowError):
        return error
    return InvalidArgumentError(
        "the message is not a valid request of this method; see the .proto files"
    )
