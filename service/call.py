"""What every call has in common, over either transport: identifier, count, duration, log, error.

A servicer raises `ServiceError`; the client gets its status, its message and its reason. Whatever
else it raises is logged with its traceback and told as an internal error, without a word of the
inside.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

from convoy.service.errors import RequestExpiredError, ServiceError
from convoy.service.lifecycle import Lifecycle
from convoy.service.security.access import Access
from convoy.service.serving.inference import Inference
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel
from convoy.service.telemetry import logs
from convoy.service.telemetry.metrics import INFERENCE_METHODS, UNKNOWN_MODEL, Metrics

logger = logging.getLogger(__name__)

FAILURES_LOGGED_PER_S = 100
"""Lines for calls that fail, in a second at most; those that fail by our fault are not counted.

An overload fails thousands of calls a second, and a line costs more than to refuse one
(docs/benchmarks.md).
"""

REFUSABLE_METHODS = INFERENCE_METHODS | {"RepositoryModelLoad"}
"""Methods that a server that shuts down refuses."""

# A client's own clock ends a call a little before ours would: by a share of the time that it gave,
# and by this at most.
_EXPIRY_TOLERANCE_SHARE = 0.1
_EXPIRY_TOLERANCE_S = 0.05


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
        return Failure(error.status, error.reason, str(error), _in_ms(error.retry_after_s))
    logger.error("internal error", exc_info=error)
    return Failure("INTERNAL", "INTERNAL", "internal error")


def _in_ms(seconds: float | None) -> float | None:
    """Whole milliseconds, in seconds: what a client can be told, and the same for many of them."""
    return None if seconds is None else math.ceil(1000 * seconds) / 1000


def find_model(registry: ModelRegistry, name: str, version: str = "") -> ServedModel:
    """Find the model that the current call asks for and note it; raises as `ModelRegistry.get`."""
    call = _current_call.get()
    call.model = UNKNOWN_MODEL
    model = registry.get(name, version)
    call.model = model.name
    return model


def received(size: int) -> None:
    """Count bytes of the current call's request; raises as `Call.hold`."""
    _current_call.get().hold(size)


def responded(model: ServedModel, inference: Inference) -> float:
    """Count an answer of the current call, as `ServedModel.responded` does."""
    respond_s = model.responded(inference)
    _current_call.get().spent(inference, respond_s)
    return respond_s


class Calls:
    """
    What all calls share.

    Attributes:
        access: Refuses calls of those who may not.
        lifecycle: Refuses calls, and counts those in flight.
        metrics: Where calls are counted.
        log_requests: Whether every call leaves a line in the log; else some of those that fail do.
        failures: What lines are left for those, unless they fail by our fault.
    """

    def __init__(
        self, access: Access, lifecycle: Lifecycle, metrics: Metrics, *, log_requests: bool
    ) -> None:
        self.access = access
        self.lifecycle = lifecycle
        self.metrics = metrics
        self.log_requests = log_requests
        self.failures = logs.Ration(FAILURES_LOGGED_PER_S)

    def answering(self, method: str, origin: logs.Origin, deadline: float = math.inf) -> Call:
        """
        Surround the work on one call. It is on the books before the client learns of its end.

        Args:
            method: Name of the rpc, whatever the transport.
            origin: In every line that is logged meanwhile.
            deadline: When the client stops waiting, on the event loop's clock; inf if it never
                does.

        Raises:
            CallFailed: Whatever error ended the block.
        """
        return Call(self, method, origin, deadline)

    def missed(self, method: str, model: str) -> None:
        """
        Count a call for *model*, if that is known, to which the server came after its deadline.

        Its client knows by then, and may have asked again: such calls come in masses, so that no
        more is done for one.
        """
        self.metrics.requests.counts[model, method, RequestExpiredError.status] += 1
        self.metrics.refused(RequestExpiredError.reason, model)


class Call:
    """
    One call, as its log line and its metrics name it; to be entered for the work on it.

    Attributes:
        model: Label of the model it asks for; empty before that is known.
        origin: Where the call comes from.
    """

    __slots__ = (
        *("_calls", "_deadline", "_method", "_phases", "_size", "_started"),
        *("model", "origin"),
    )

    def __init__(self, calls: Calls, method: str, origin: logs.Origin, deadline: float) -> None:
        self.model = ""
        self._calls = calls
        self._method = method
        self.origin = origin
        self._deadline = deadline
        self._phases: dict[str, float] = {}
        self._size = 0
        self._started = time.monotonic()

    def __enter__(self) -> None:
        _current_call.set(self)
        logs.origin.set(self.origin)
        self.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if failed := self.end(error):
            raise failed from error

    def begin(self) -> None:
        """
        Count the call as in flight: entering it without a task of its own.

        Raises:
            CallFailed: If the server takes no more calls, or none of this kind from this client.
        """
        try:
            self._calls.access.check(self._method, self.origin.token_digest)
            self._calls.lifecycle.enter(may_refuse=self._method in REFUSABLE_METHODS)
        except ServiceError as error:
            raise self._failed(error) from error

    def hold(self, size: int) -> None:
        """
        Count *size* more bytes of its request, until it ends.

        Raises:
            ServerBusyError: If those in flight are too many.
        """
        self._calls.lifecycle.hold(size)
        self._size += size

    def end(self, error: BaseException | None = None) -> CallFailed | None:
        """Put the call on the books; returns what the client is to be told of *error*."""
        self._calls.lifecycle.leave(self._size)
        if error is None:
            self._record("OK")
        elif isinstance(error, asyncio.CancelledError):
            self._record(self._why_cancelled())
        elif isinstance(error, Exception):
            return self._failed(error)
        return None

    def spent(self, inference: Inference, respond_s: float) -> None:
        """Note for the log where the time of an answer went; that of several adds up."""
        if not self._calls.log_requests:
            return
        spent = {
            "decode_s": inference.decode_s,
            "queue_s": inference.queue_s,
            "inference_s": inference.inference_s,
            "respond_s": respond_s,
        }
        for phase, seconds in spent.items():
            self._phases[phase] = self._phases.get(phase, 0.0) + seconds

    def _failed(self, error: Exception) -> CallFailed:
        with logs.of_request(self.origin):
            failure = failure_of(error)
        if failure.refused:
            self._calls.metrics.refused(failure.reason, self.model)
        self._record(failure.status, failure.details)
        return CallFailed(failure)

    def _why_cancelled(self) -> str:
        given = self._deadline - self._started
        tolerance = min(_EXPIRY_TOLERANCE_SHARE * given, _EXPIRY_TOLERANCE_S)
        if time.monotonic() < self._deadline - tolerance:
            return "CANCELLED"
        # gRPC's own clock was faster than the queue's; the client sees no reason.
        self._calls.metrics.refused(RequestExpiredError.reason, self.model)
        return "DEADLINE_EXCEEDED"

    def _record(self, status: str, details: str = "") -> None:
        calls, seconds = self._calls, time.monotonic() - self._started
        calls.metrics.requests.counts[self.model, self._method, status] += 1
        if self._method in INFERENCE_METHODS:
            calls.metrics.request_duration.labels(self.model).observe(seconds)
        left_out: int | None = 0
        if not calls.log_requests and status != "INTERNAL":
            left_out = None if status == "OK" else calls.failures.take(time.monotonic())
        if left_out is not None:
            self._log(status, seconds, details, left_out)

    def _log(self, status: str, seconds: float, details: str, left_out: int) -> None:
        values = {
            "method": self._method,
            "model": self.model,
            "code": status,
            "seconds": round(seconds, 6),
            **{phase: round(spent, 6) for phase, spent in self._phases.items()},
            **({"details": details} if details else {}),
            **({"failures_left_out": left_out} if left_out else {}),
        }
        with logs.of_request(self.origin):
            logger.info("request", extra=values)


_current_call: ContextVar[Call] = ContextVar("current_call")
