"""Surrounds every unary call of our services, and tells its failure as gRPC has it."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NoReturn, Protocol

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from convoy.service.call import CallFailed, Calls, Failure, received
from convoy.service.errors import InvalidArgumentError, RequestTooLargeError
from convoy.service.telemetry.logs import Origin

SERVICES = ("/convoy.v1.ClassifierService/", "/inference.GRPCInferenceService/")
"""Services whose calls are counted; health and reflection are not ours."""

ERROR_DOMAIN = "convoy"
"""Whose reasons these are (`google.rpc.ErrorInfo.domain`)."""

PUSHBACK = "grpc-retry-pushback-ms"
"""Metadata that says when to try again, in milliseconds."""

Metadata = Sequence[tuple[str, str | bytes]]


class Context(Protocol):
    """What our handlers use of a `grpc.aio.ServicerContext`."""

    def invocation_metadata(self) -> Metadata | None:
        """What the client sent beside its request."""

    def time_remaining(self) -> float | None:
        """Seconds until the client stops waiting; None if it never does."""

    def set_trailing_metadata(self, trailing_metadata: Metadata, /) -> None:
        """Send this with the status."""

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: Metadata, /
    ) -> NoReturn:
        """End the call."""


Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class UnaryHandler:
    """
    Answers the calls of one method, whatever the transport.

    Attributes:
        answer: From the bytes of a request to its response; ends the context where it fails.
        serialize: From a response to its bytes.
        missed: Counts a call for a model, if that is known, whose deadline had passed when the
            server came to it.
    """

    answer: Callable[[bytes, Context], Awaitable[Any]]
    serialize: Callable[[Any], bytes]
    missed: Callable[[str], None]


def unary_handler(
    calls: Calls,
    path: str,
    handler: grpc.RpcMethodHandler[Any, Any],
    max_message_bytes: float = math.inf,
) -> UnaryHandler | None:
    """
    Surround a servicer's method; None if it is not a unary one of our services.

    Args:
        max_message_bytes: Largest request, where the transport lets larger ones through.
    """
    if not path.startswith(SERVICES) or handler.unary_unary is None:
        return None
    method = path.rsplit("/", 1)[1]
    respond: Any = handler.unary_unary
    # The bytes are parsed within the call: grpc would tell the client of a message that is none
    # by UNKNOWN and write a traceback.
    parse: Any = handler.request_deserializer
    serialize: Any = handler.response_serializer

    async def answer(message: bytes, context: Context) -> Any:
        origin = origin_of(context.invocation_metadata())
        try:
            with calls.answering(method, origin, deadline_of(context)):
                _check_size(message, max_message_bytes)
                received(len(message))
                response = await respond(parsed(message, parse), context)
        except CallFailed as failed:
            await abort(context, failed.failure, origin)
        context.set_trailing_metadata(origin.headers)
        return response

    return UnaryHandler(answer, serialize, partial(calls.missed, method))


def _check_size(message: bytes, most: float) -> None:
    if len(message) > most:
        raise RequestTooLargeError(f"the message has {len(message)} bytes; at most {most}")


def failure_metadata(failure: Failure, origin: Origin) -> Metadata:
    """What a failed call tells beside status and message: the reason and the time to wait."""
    # Only an overload says when to come again, and in words of ours; others may quote a client.
    told = _told if failure.retry_after_s is None else _told_by_overload
    return *origin.headers, *told(failure)


def _told(failure: Failure) -> Metadata:
    """What every call that fails like this is told."""
    metadata: list[tuple[str, str | bytes]] = [("error-reason", failure.reason)]
    if failure.retry_after_s is not None:
        # What gRPC's own retry policies look at.
        metadata.append((PUSHBACK, str(round(failure.retry_after_s * 1000))))
    metadata.append(("grpc-status-details-bin", _details(failure)))
    return tuple(metadata)


_told_by_overload = lru_cache(maxsize=4096)(_told)
"""
The same, kept: an overload refuses thousands of calls a second in the same words, and protobuf
gives memory back to the system after every 10,000 blocks, which can take longer than to refuse as
many calls.
"""


async def abort(context: Context, failure: Failure, origin: Origin) -> NoReturn:
    """End a call that failed."""
    code = grpc.StatusCode[failure.status]
    await context.abort(code, failure.details, failure_metadata(failure, origin))


def _details(failure: Failure) -> bytes:
    """The failure as `google.rpc.Status`, as the richer error model of gRPC has it."""
    info = error_details_pb2.ErrorInfo(reason=failure.reason, domain=ERROR_DOMAIN)
    code = grpc.StatusCode[failure.status].value[0]
    status = status_pb2.Status(code=code, message=failure.details, details=[_any(info)])
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


def origin_of(metadata: Metadata | None) -> Origin:
    """Where a call with the client's *metadata* comes from."""
    request_id = traceparent = authorization = ""
    for name, value in metadata or ():
        if name == "x-request-id" and isinstance(value, str):
            request_id = value
        elif name == "traceparent" and isinstance(value, str):
            traceparent = value
        elif name == "authorization" and isinstance(value, str):
            authorization = value
    return Origin.from_headers(request_id, traceparent, authorization)


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
    return deadline_in(context.time_remaining(), time.monotonic())


def deadline_in(remaining: float | None, now: float) -> float:
    """When the *remaining* seconds are over that there were at *now*; inf if there is no end."""
    return math.inf if remaining is None else now + remaining
