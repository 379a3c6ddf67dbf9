"""What every call has in common, over either transport: identifier, count, duration, log, error.

A servicer raises `ServiceError`; the client gets its status, its message and its reason. Whatever
else it raises is logged with its traceback and told as an internal error, without a word of the
inside.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from service import logs
from service.classifier import ServedModel
from service.errors import RequestExpiredError, ServiceError
from service.lifecycle import Lifecycle
from service.metrics import UNKNOWN_MODEL, Metrics
from service.registry import ModelRegistry

logger = logging.getLogger(__name__)

INFERENCE_METHODS = frozenset({"Classify", "ClassifyBatch", "ModelInfer", "ModelStreamInfer"})
"""Methods whose duration is measured."""

REFUSABLE_METHODS = INFERENCE_METHODS | {"RepositoryModelLoad"}
"""Methods that a server that shuts down refuses."""

# A client's own clock ends a call a little before ours would: by a share of the time that it gave,
# and by this at most.
_EXPIRY_TOLERANCE_SHARE = 0.1
_EXPIRY_TOLERANCE_S = 0.05

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


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
    """
    What a client is told of an error.

    Attributes:
        status: Name of a `grpc.StatusCode`.
        retry_after_s: When another try may succeed, in seconds; None if nobody knows.
    """

    status: str
    reason: str
    details: str
    retry_after_s: float | None = None

    @property
    def refused(self) -> bool:
        """Whether the server would not, rather than could not, answer."""
        return self.status != "INTERNAL"


class CallFailed(Exception):  # noqa: N818 - the error is its cause
    """Carries what the client is to be told, once the call is counted and logged."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.details)
        self.failure = failure


def failure_of(error: Exception) -> Failure:
    """Derive what a client is told; an error that nobody foresaw goes to the log instead."""
    if isinstance(error, ServiceError):
        return Failure(error.status, error.reason, str(error), error.retry_after_s)
    logger.error("internal error", exc_info=error)
    return Failure("INTERNAL", "INTERNAL", "internal error")


_current_call: ContextVar[Call] = ContextVar("current_call")


def find_model(registry: ModelRegistry, name: str, version: str = "") -> ServedModel:
    """Find the model that the current call asks for and note it; raises as `ModelRegistry.get`."""
    call = _current_call.get()
    call.model = UNKNOWN_MODEL
    model = registry.get(name, version)
    call.model = model.name
    return model


def request_id(given: str) -> str:
    """The client's identifier if it is a sane one, else a new one."""
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


class Calls:
    """Counts, measures and logs calls, and refuses them where the server takes no more."""

    def __init__(self, lifecycle: Lifecycle, metrics: Metrics, *, log_requests: bool) -> None:
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._log_requests = log_requests

    @contextmanager
    def answering(
        self, method: str, identifier: str, deadline: float = float("inf")
    ) -> Iterator[None]:
        """
        Surround the work on one call. It is on the books before the client learns of its end.

        Args:
            method: Name of the rpc, whatever the transport.
            identifier: From `request_id`; it is in every line that is logged meanwhile.
            deadline: When the client stops waiting, on the event loop's clock.

        Raises:
            CallFailed: Whatever error ended the block.
        """
        call = Call(method, asyncio.get_running_loop().time(), deadline)
        _current_call.set(call)
        logs.request_id.set(identifier)
        try:
            with self._lifecycle.call(may_refuse=method in REFUSABLE_METHODS):
                yield
        except asyncio.CancelledError:
            self._record(call, self._why_cancelled(call))
            raise
        except Exception as error:
            failure = failure_of(error)
            if failure.refused:
                self._metrics.rejected.labels(call.model, failure.reason).inc()
            self._record(call, failure.status, failure.details)
            raise CallFailed(failure) from error
        self._record(call, "OK")

    def _why_cancelled(self, call: Call) -> str:
        given = call.deadline - call.started
        tolerance = min(_EXPIRY_TOLERANCE_SHARE * given, _EXPIRY_TOLERANCE_S)
        if asyncio.get_running_loop().time() < call.deadline - tolerance:
            return "CANCELLED"
        # gRPC's own clock was faster than the queue's; the client sees no reason.
        self._metrics.rejected.labels(call.model, RequestExpiredError.reason).inc()
        return "DEADLINE_EXCEEDED"

    def _record(self, call: Call, status: str, details: str = "") -> None:
        seconds = asyncio.get_running_loop().time() - call.started
        self._metrics.requests.labels(call.model, call.method, status).inc()
        if call.method in INFERENCE_METHODS:
            self._metrics.request_duration.labels(call.model).observe(seconds)
        if self._log_requests or status != "OK":
            logger.info(
                "request",
                extra={
                    "method": call.method,
                    "model": call.model,
                    "code": status,
                    "seconds": round(seconds, 6),
                    **({"details": details} if details else {}),
                },
            )
