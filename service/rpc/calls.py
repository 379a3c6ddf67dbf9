"""Surrounds every unary call of our services, once each, and tells its failure as gRPC has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from service.calls import CallFailed, Calls, Failure, request_id
from service.errors import InvalidArgumentError

SERVICES = ("/convoy.v1.ClassifierService/", "/inference.GRPCInferenceService/")
"""Services whose calls are counted; health and reflection are not ours."""

ERROR_DOMAIN = "convoy"
"""Whose reasons these are (`google.rpc.ErrorInfo.domain`)."""

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]
Handler = Callable[[Any, Context], Awaitable[Any]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every unary method of our services."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the wrapped handler of a method; that of others as it is."""
        path = handler_call_details.method
        if path not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None or not path.startswith(SERVICES) or handler.unary_unary is None:
                return handler
            method = path.rsplit("/", 1)[1]
            # Without a deserializer grpc hands over the bytes: it would tell the client of a
            # message that is none by UNKNOWN and write a traceback.
            self._wrapped[path] = grpc.unary_unary_rpc_method_handler(
                self._wrap(method, handler.unary_unary, handler.request_deserializer),
                request_deserializer=None,
                response_serializer=handler.response_serializer,
            )
        return self._wrapped[path]

    def _wrap(
        self, method: str, handler: Handler, parse: Callable[[bytes], Any]
    ) -> Callable[[bytes, Context], Awaitable[Any]]:
        async def answer(message: bytes, context: Context) -> Any:
            identifier = identifier_of(context)
            try:
                with self._calls.answering(method, identifier, deadline_of(context)):
                    response = await handler(parsed(message, parse), context)
            except CallFailed as failed:
                await abort(context, failed.failure, identifier)
            context.set_trailing_metadata((("x-request-id", identifier),))
            return response

        return answer


async def abort(context: Context, failure: Failure, identifier: str) -> NoReturn:
    """End a call: status, message, and the reason and the time to wait in the metadata."""
    metadata: list[tuple[str, str | bytes]] = [
        ("x-request-id", identifier),
        ("error-reason", failure.reason),
    ]
    if failure.retry_after_s is not None:
        # What gRPC's own retry policies look at.
        metadata.append(("grpc-retry-pushback-ms", str(round(failure.retry_after_s * 1000))))
    code = grpc.StatusCode[failure.status]
    metadata.append(("grpc-status-details-bin", _details(code, failure)))
    await context.abort(code, failure.details, tuple(metadata))


def _details(code: grpc.StatusCode, failure: Failure) -> bytes:
    """The failure as `google.rpc.Status`, as the richer error model of gRPC has it."""
    info = error_details_pb2.ErrorInfo(reason=failure.reason, domain=ERROR_DOMAIN)
    status = status_pb2.Status(code=code.value[0], message=failure.details, details=[_any(info)])
    if failure.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(round(failure.retry_after_s * 1e6))
        status.details.append(_any(error_details_pb2.RetryInfo(retry_delay=delay)))
    encoded: bytes = status.SerializeToString()
    return encoded


def _any(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def metadata_of(context: Context, key: str) -> str:
    """A text of the client's metadata; empty if there is none of that key."""
    for name, value in context.invocation_metadata() or ():
        if name == key and isinstance(value, str):
            return value
    return ""


def identifier_of(context: Context) -> str:
    """Identifier of a call: the client's, or a new one."""
    return request_id(metadata_of(context, "x-request-id"))


def parsed(message: bytes, parse: Callable[[bytes], Any]) -> Any:
    """
    Parse a request.

    Raises:
        InvalidArgumentError: If the bytes are none.
    """
    try:
        return parse(message)
    except DecodeError as error:
        raise InvalidArgumentError("the message is not the request of this method") from error


def deadline_of(context: Context) -> float:
    """When the client stops waiting, on the event loop's clock; inf if it never does."""
    remaining = context.time_remaining()
    return float("inf") if remaining is None else asyncio.get_running_loop().time() + remaining
