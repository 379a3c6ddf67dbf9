"""The handling of every unary call of our services, for either transport, and gRPC's errors."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, Protocol

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from convoy.service.call import Call, Calls
from convoy.service.errors import InvalidArgumentError, RequestTooLargeError, ServiceError
from convoy.service.telemetry.logs import Origin

SERVICES = (
    "/convoy.v1.ClassifierService/",
    "/convoy.v1.ShadowService/",
    "/inference.GRPCInferenceService/",
)
"""Services whose calls are counted, unlike those of health and reflection."""

ERROR_DOMAIN = "convoy"
"""The domain of our reasons (`google.rpc.ErrorInfo.domain`)."""

PUSHBACK = "grpc-retry-pushback-ms"
"""Metadata with the time after which to retry, in milliseconds; gRPC's retry policies read it."""

MAX_TEXT_BYTES = 1500
"""
Longest text of an error, in UTF-8; the rest is left out.

A status holds the text twice, once percent-encoded. Clients refuse metadata above 8 KiB by default,
and report that in place of the error.
"""

Metadata = Sequence[tuple[str, str | bytes]]

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class Context(Protocol):
    """The parts of `grpc.aio.ServicerContext` that are used here."""

    def invocation_metadata(self) -> Metadata | None:
        """Return the metadata that the client sent."""

    def time_remaining(self) -> float | None:
        """Return the seconds until the client's deadline; None if there is none."""

    def set_trailing_metadata(self, trailing_metadata: Metadata, /) -> None:
        """Send this metadata with the status."""

    async def read(self) -> Any:
        """Return the client's next message, or `grpc.aio.EOF`; only for handlers of streams."""

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: Metadata, /
    ) -> NoReturn:
        """End the call with a status."""


class UnaryHandler(NamedTuple):
    """
    The handler of one method, for either transport.

    Attributes:
        calls: The state that its calls share.
        method: Name of the rpc.
        answer: Takes the bytes of a request, and its record, which it finishes; returns its
            response or raises a `ServiceError`.
        model_name: Returns the name of the model that the bytes of a request ask for; empty if
            they name none.
        serialize: Encodes a response.
    """

    calls: Calls
    method: str
    answer: Callable[[bytes, Call], Awaitable[Any]]
    model_name: Callable[[bytes], str]
    serialize: Callable[[Any], bytes]

    def open(self, origin: Origin, deadline: float, received_at: float | None = None) -> Call:
        """Open the record of a call of this method; see `Calls.open`."""
        return self.calls.open(self.method, origin, deadline, received_at)

    def refuse(self, origin: Origin, deadline: float, error: ServiceError) -> ServiceError:
        """Count and log a call that fails before its message is known; return its error."""
        try:
            with self.open(origin, deadline):
                raise error
        except ServiceError as failure:
            return failure


def unary_handler(
    calls: Calls,
    path: str,
    handler: grpc.RpcMethodHandler[Any, Any],
    max_message_bytes: float = math.inf,
) -> UnaryHandler | None:
    """
    Wrap a servicer's method; return None if it is not a unary method of our services.

    The servicer receives the record of the call in place of gRPC's context.

    Args:
        max_message_bytes: Largest request, for a transport that does not limit requests itself.
    """
    if not path.startswith(SERVICES) or handler.unary_unary is None:
        return None
    method = path.rsplit("/", 1)[1]
    respond: Any = handler.unary_unary
    # The bytes are parsed within the call: grpc itself would answer a message that cannot be parsed
    # with UNKNOWN, and log a traceback.
    parse: Any = handler.request_deserializer

    async def answer(message: bytes, call: Call) -> Any:
        with call:
            if len(message) > max_message_bytes:
                raise RequestTooLargeError(
                    f"the message has {len(message)} bytes; this server accepts at most "
                    f"{max_message_bytes}"
                )
            # Counted before it is parsed, as parsing takes as much memory again.
            call.hold(len(message))
            try:
                request = parse(message)
            except DecodeError as error:
                raise InvalidArgumentError(
                    "the message is not a valid request of this method; see the .proto files"
                ) from error
            return await respond(request, call)

    def model_name(message: bytes) -> str:
        try:
            request = parse(message)
        except DecodeError:
            return ""
        # Requests of the Open Inference Protocol and ours name the field differently.
        return getattr(request, "model_name", "") or getattr(request, "model", "")

    return UnaryHandler(calls, method, answer, model_name, handler.response_serializer)  # type: ignore[arg-type]


def error_text(error: ServiceError) -> str:
    """Return the text of an error, as far as a status has room for it."""
    text = str(error)
    data = text.encode()
    if len(data) <= MAX_TEXT_BYTES:
        return text
    return f"{data[:MAX_TEXT_BYTES].decode(errors='ignore')}..."


def error_metadata(error: ServiceError, origin: Origin) -> Metadata:
    """Return the metadata of a failed call: its reason, and the time to wait."""
    retry_ms = None if error.retry_after_s is None else math.ceil(1000 * error.retry_after_s)
    # Only errors of overload state a time, and their messages never quote a client. Other messages
    # may: clients could fill the cache with them.
    details = _details if retry_ms is None else _details_of_overload
    return *origin.headers, *details(error.status, error.reason, error_text(error), retry_ms)


async def abort(context: Context, error: ServiceError, origin: Origin) -> NoReturn:
    status, metadata = grpc.StatusCode[error.status], error_metadata(error, origin)
    await context.abort(status, error_text(error), metadata)


async def abort_without_message(context: Context) -> NoReturn:
    """End a call whose client sent no message; if gRPC has ended it, nothing happens."""
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message", ())


def _details(status: str, reason: str, message: str, retry_ms: int | None) -> Metadata:
    """Return the metadata of an error, which is the same for every call."""
    metadata: list[tuple[str, str | bytes]] = [("error-reason", reason)]
    if retry_ms is not None:
        metadata.append((PUSHBACK, str(retry_ms)))
    metadata.append(("grpc-status-details-bin", _status(status, reason, message, retry_ms)))
    return tuple(metadata)


_details_of_overload = lru_cache(maxsize=4096)(_details)
"""
`_details` with a cache: an overload refuses thousands of calls a second with the same message, and
protobuf returns memory to the system after every 10,000 blocks, which can take longer than refusing
as many calls.
"""


def _status(status: str, reason: str, message: str, retry_ms: int | None) -> bytes:
    """Return the error as `google.rpc.Status`, of gRPC's richer error model."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN)
    code = grpc.StatusCode[status].value[0]
    encoded = status_pb2.Status(code=code, message=message, details=[_any(info)])
    if retry_ms is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(retry_ms)
        encoded.details.append(_any(error_details_pb2.RetryInfo(retry_delay=delay)))
    data: bytes = encoded.SerializeToString()
    return data


def _any(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def arrival(context: Context) -> tuple[Origin, float]:
    """Return the client's identifiers, and its deadline on the event loop's clock, or inf."""
    remaining_s = context.time_remaining()
    deadline = math.inf if remaining_s is None else time.monotonic() + remaining_s
    return Origin.from_headers(context.invocation_metadata() or ()), deadline
