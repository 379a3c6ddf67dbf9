"""What every unary call has in common: identifier, count, duration, log line, error.

One interceptor, so that no servicer repeats it. A servicer raises `ServiceError`; the client
gets its status, its message and its reason. Whatever else it raises is logged with its traceback
and told as an internal error, without a word of the inside.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from service import logs
from service.classifier import ServedModel
from service.errors import InvalidArgumentError, RequestExpiredError, ServiceError
from service.lifecycle import Lifecycle
from service.metrics import UNKNOWN_MODEL, Metrics
from service.registry import ModelRegistry

logger = logging.getLogger(__name__)

SERVICES = ("/convoy.v1.ClassifierService/", "/inference.GRPCInferenceService/")
"""Services whose calls are counted; health and reflection are not ours."""

INFERENCE_METHODS = frozenset({"Classify", "ClassifyBatch", "ModelInfer"})
"""Methods whose duration is measured, and which a server that shuts down refuses."""

# A client's own clock ends a call a little before ours would: by a share of the time that it gave,
# and by this at most.
_EXPIRY_TOLERANCE_SHARE = 0.1
_EXPIRY_TOLERANCE_S = 0.05

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]
Handler = Callable[[Any, Context], Awaitable[Any]]


@dataclass(slots=True)
class Call:
    """
    One call, as its log line and its metrics name it.

    Attributes:
        started: When it arrived, on the event loop's clock.
        deadline: When the client stops waiting, on the same clock; inf if it never does.
        model: Label of the model it asks for; empty before that is known.
    """

    method: str
    started: float
    deadline: float
    model: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a client is told of an error."""

    code: grpc.StatusCode
    reason: str
    details: str

    @property
    def refused(self) -> bool:
        """Whether the server would not, rather than could not, answer."""
        return self.code is not grpc.StatusCode.INTERNAL


def failure_of(error: Exception) -> Failure:
    """Derive what a client is told; an error that nobody foresaw goes to the log instead."""
    if isinstance(error, ServiceError):
        return Failure(grpc.StatusCode[error.status], error.reason, str(error))
    logger.error("internal error", exc_info=error)
    return Failure(grpc.StatusCode.INTERNAL, "INTERNAL", "internal error")


_current_call: ContextVar[Call] = ContextVar("current_call")


def find_model(registry: ModelRegistry, name: str, version: str = "") -> ServedModel:
    """Find the model that the current call asks for and note it; raises as `ModelRegistry.get`."""
    call = _current_call.get()
    call.model = UNKNOWN_MODEL
    model = registry.get(name, version)
    call.model = model.name
    return model


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every unary method of our services, once each."""

    def __init__(self, lifecycle: Lifecycle, metrics: Metrics, *, log_requests: bool) -> None:
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._log_requests = log_requests
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
        infers = method in INFERENCE_METHODS

        async def answer(message: bytes, context: Context) -> Any:
            call = Call(method, asyncio.get_running_loop().time(), deadline_of(context))
            _current_call.set(call)
            identifier = _request_id(context)
            logs.request_id.set(identifier)
            named = ("x-request-id", identifier)
            try:
                with self._lifecycle.call(may_refuse=infers):
                    response = await handler(_parsed(message, parse), context)
            except asyncio.CancelledError:
                code = _why_cancelled(call)
                if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                    # gRPC's own clock was faster than the queue's; the client sees no reason.
                    reason = RequestExpiredError.reason
                    self._metrics.rejected.labels(call.model, reason).inc()
                self._record(call, code)
                raise
            except Exception as error:
                failure = failure_of(error)
            else:
                self._record(call, grpc.StatusCode.OK)
                context.set_trailing_metadata((named,))
                return response
            if failure.refused:
                self._metrics.rejected.labels(call.model, failure.reason).inc()
            self._record(call, failure.code, failure.details)
            trailing = (named, ("error-reason", failure.reason))
            return await context.abort(failure.code, failure.details, trailing)

        return answer

    def _record(self, call: Call, code: grpc.StatusCode, details: str = "") -> None:
        """Count a call and log it; before the client learns of its end, so that both agree."""
        seconds = asyncio.get_running_loop().time() - call.started
        self._metrics.requests.labels(call.model, call.method, code.name).inc()
        if call.method in INFERENCE_METHODS:
            self._metrics.request_duration.labels(call.model).observe(seconds)
        if self._log_requests or code is not grpc.StatusCode.OK:
            logger.info(
                "request",
                extra={
                    "method": call.method,
                    "model": call.model,
                    "code": code.name,
                    "seconds": round(seconds, 6),
                    **({"details": details} if details else {}),
                },
            )


def _request_id(context: Context) -> str:
    """The client's identifier if it is a sane one, else a new one."""
    for key, value in context.invocation_metadata() or ():
        if key == "x-request-id" and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex


def _parsed(message: bytes, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(message)
    except DecodeError as error:
        raise InvalidArgumentError("the message is not the request of this method") from error


def _why_cancelled(call: Call) -> grpc.StatusCode:
    given = call.deadline - call.started
    tolerance = min(_EXPIRY_TOLERANCE_SHARE * given, _EXPIRY_TOLERANCE_S)
    expired = asyncio.get_running_loop().time() >= call.deadline - tolerance
    return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED


def deadline_of(context: Context) -> float:
    """When the client stops waiting, on the event loop's clock; inf if it never does."""
    remaining = context.time_remaining()
    return float("inf") if remaining is None else asyncio.get_running_loop().time() + remaining
