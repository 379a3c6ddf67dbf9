"""The record of one request, from its arrival to its answer, and the bookkeeping that ends it.

A transport opens a `Call` for each request. The call passes through admission, queue and run, and
collects times and outputs on its way. `Call.finish` is the only place that does the bookkeeping:
calls in flight, metrics, the model's statistics, the log.

An error that a client may see is a `ServiceError`. Any other error is logged with its traceback,
and the client receives "internal error".
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from convoy.artifact.baseline import Baseline
from convoy.artifact.manifest import Manifest
from convoy.service.errors import (
    InferenceError,
    InternalError,
    RequestExpiredError,
    ScoresNotFiniteError,
    ServiceError,
)
from convoy.service.lifecycle import Lifecycle
from convoy.service.security.access import Access
from convoy.service.telemetry import logs
from convoy.service.telemetry.batch_record import NO_TIMES, BatchTimes, Outputs
from convoy.service.telemetry.metrics import INFERENCE_METHODS, UNKNOWN_MODEL, Metrics, ModelMetrics
from convoy.service.telemetry.statistics import Statistics

logger = logging.getLogger(__name__)

PRIORITIES = (1, 2, 3)
"""First, normal, last."""

DEFAULT_PRIORITY = 2

FAILURE_PERIOD_S = 60.0
"""
Time in which failed calls of one kind (method, model, code, reason) leave one line, in seconds.

A client that repeats its mistake would fill the log otherwise, and under overload a line costs more
than a refusal (docs/explanation/benchmarks.md). Internal errors are always logged.
"""

REFUSABLE_METHODS = INFERENCE_METHODS | {"RepositoryModelLoad", "StartShadow", "PromoteShadow"}
"""Methods that a server refuses while it shuts down."""

# A client's own clock may cancel a call before our deadline: by at most this share of the time that
# the client allowed, and by at most this many seconds.
_EXPIRY_TOLERANCE_SHARE = 0.1
_EXPIRY_TOLERANCE_S = 0.05


class Phase(NamedTuple):
    """A phase of a request, from *started* to *ended*, in seconds on the event loop's clock."""

    name: str
    started: float
    ended: float


@dataclass(slots=True, eq=False)
class Request:
    """
    The part of the record that the queue and the device read and fill in.

    Points in time are seconds on the event loop's clock, `time.monotonic()`.

    Attributes:
        images: Images in the request; they stay together. 0 until the request is submitted.
        deadline: Time after which the client no longer waits; inf if there is none.
        priority: One of `PRIORITIES`; within its model, lower numbers go first.
        on_done: Called once, with the request, when it was answered or has failed.
        encoded: Its images as the client sent them; empty for tensors.
        item: The model's input, `[images, ...]`, once it is decoded.
        done: Whether it was answered, has failed or was withdrawn.
        error: The error that it failed with.
        outputs: Its outputs, once it was answered.
        enqueued_at: Time at which it joined the queue.
        order: Its rank in the queue; lower ranks are taken first.
        expiry: The timer that fails it at its deadline.
        answered_at: Time at which its outputs were ready.
        decode_s: Time spent decoding its images, in seconds; 0 for tensors.
        queue_s: Time spent waiting for the device, in seconds.
        inference_s: Time that its batch ran, in seconds.
        batch_size: Images in that batch, other requests' included; 0 before the run.
        times: The parts of that run.
    """

    images: int = 0
    deadline: float = math.inf
    priority: int = DEFAULT_PRIORITY
    on_done: Callable[[Any], None] | None = None
    encoded: Sequence[bytes] = ()
    item: Any = None
    done: bool = False
    error: Exception | None = None
    outputs: Outputs = field(default_factory=dict)
    enqueued_at: float = math.nan
    order: tuple[int, float, int] = (0, 0.0, 0)
    expiry: asyncio.TimerHandle | None = None
    answered_at: float = math.nan
    decode_s: float = 0.0
    queue_s: float = 0.0
    inference_s: float = 0.0
    batch_size: int = 0
    times: BatchTimes = NO_TIMES

    def answer(
        self, outputs: Outputs, started: float, ended: float, batch_size: int, times: BatchTimes
    ) -> None:
        """End with the outputs of the run that lasted from *started* to *ended*."""
        self.outputs = outputs
        self.queue_s = started - self.enqueued_at
        self.inference_s = ended - started
        self.batch_size = batch_size
        self.times = times
        self.answered_at = time.monotonic()
        self._end()

    def fail(self, error: Exception) -> None:
        """End with *error*; do nothing if the request has ended."""
        # Its deadline may have passed, or its client disconnected, while its batch failed.
        if not self.done:
            self.error = error
            self._end()

    def withdraw(self) -> None:
        """End without an answer, since the client has disconnected."""
        self.on_done = None
        self._end()

    def ending(self) -> asyncio.Future[None]:
        """Return a future that is resolved when it was answered or has failed; sets `on_done`."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_done = partial(_resolve, ended)
        return ended

    async def prepare(self, item: Awaitable[Any], ended: asyncio.Future[None]) -> None:
        """
        Await its item; give that up if it fails meanwhile, such as at its deadline.

        Args:
            ended: Returned by `ending`.
        """
        preparing = asyncio.ensure_future(item)
        ended.add_done_callback(lambda _: preparing.cancel())
        try:
            self.item = await preparing
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # The client has disconnected, at the deadline or before it.
            if not self.error or (task and task.cancelling()):
                raise

    def raise_failure(self) -> None:
        """Raise the error that it failed with, if it did."""
        if self.error:
            try:
                raise self.error
            finally:
                # The error's traceback refers to the request: break the cycle.
                self.error = None

    def _end(self) -> None:
        self.done = True
        if self.expiry:
            self.expiry.cancel()
            self.expiry = None
        # Release the callback first: it refers to the request, and only the garbage collector would
        # free such a cycle.
        on_done, self.on_done = self.on_done, None
        if on_done:
            on_done(self)


def _resolve(ended: asyncio.Future[None], _: Request) -> None:
    if not ended.done():
        ended.set_result(None)


class Model(Protocol):
    """The parts of a served model that a call uses for its bookkeeping."""

    manifest: Manifest
    baseline: Baseline | None
    metrics: ModelMetrics
    statistics: Statistics

    @property
    def name(self) -> str:
        """Name of the model, its label in metrics and log lines."""

    @property
    def version(self) -> int:
        """Version of the model."""

    @property
    def provider(self) -> str:
        """ONNX Runtime's execution provider that runs it."""

    def hold(self) -> None:
        """Keep the model open until `release`."""

    def release(self) -> None:
        """Allow the model to close, once no other call holds it."""

    def suspect(self) -> None:
        """Check whether the model, which failed on a request, can still run."""


class Ending(NamedTuple):
    """
    The end of a call.

    Attributes:
        at: The time of it.
        status: Name of its gRPC status, for either transport.
        failure: The error that the client receives; None if it was answered or cancelled.
    """

    at: float
    status: str
    failure: ServiceError | None


class Tracing(Protocol):
    """Sends spans of calls to a collector of traces."""

    def record(self, call: Call, model: Model | None, ending: Ending) -> str:
        """Send the span of a call that has ended; return its trace, empty if not sampled."""


Observer = Callable[["Call", Model, ServiceError | None], None]
"""Called on the event loop with a request that has ended, its model, and the error of a failed one.

It must not block, and not change the request; it may keep it."""


def _one_line_per_period() -> logs.RateLimit:
    return logs.RateLimit(1, FAILURE_PERIOD_S)


@dataclass(slots=True, eq=False)
class Calls:
    """
    The state that all calls share.

    Attributes:
        access: Refuses calls that lack a right.
        lifecycle: Counts calls in flight, and refuses calls above its limits.
        metrics: The server's metrics.
        log_requests: Whether every call is logged; otherwise only failed calls are.
        tracing: Sends spans of calls; None if there are no traces.
        observers: Called with each request that reached a model: one image of several, or a call.
        failures: The rate limits of lines for failed calls, by their kind.
    """

    access: Access
    lifecycle: Lifecycle
    metrics: Metrics
    log_requests: bool = field(kw_only=True)
    tracing: Tracing | None = field(default=None, kw_only=True)
    observers: Sequence[Observer] = field(default=(), kw_only=True)
    failures: dict[tuple[str, ...], logs.RateLimit] = field(
        init=False, default_factory=lambda: defaultdict(_one_line_per_period)
    )

    def open(
        self,
        method: str,
        origin: logs.Origin,
        deadline: float = math.inf,
        received_at: float | None = None,
    ) -> Call:
        """
        Open the record of a call that has arrived.

        Args:
            method: Name of the rpc, for either transport.
            origin: Written with every line that is logged about the call.
            deadline: Time after which the client no longer waits; inf if there is none.
            received_at: Time at which the call arrived; now if the transport does not tell.
        """
        return Call(self, method, origin, deadline, received_at)


class Call(Request):
    """
    The record of one request. As a context manager, it surrounds the work on the call.

    Attributes:
        method: Name of the rpc.
        origin: The client's identifiers.
        model: Label of the requested model; empty while it is not known.
        served: The model that answers it, held until `finish`.
        received_at: Time at which the call arrived.
        respond_s: Time from the outputs to the finished response, in seconds; 0 before that.
        timeline: The phases that it, or each of its parts, went through. Filled at the end, if
            calls are traced.
    """

    __slots__ = (
        *("_calls", "_entered", "_held_bytes", "_whole"),
        *("method", "model", "origin", "received_at", "respond_s", "served", "timeline"),
    )

    def __init__(
        self,
        calls: Calls,
        method: str,
        origin: logs.Origin,
        deadline: float,
        received_at: float | None,
        whole: Call | None = None,
    ) -> None:
        super().__init__(deadline=deadline)
        self.method = method
        self.origin = origin
        self.model = ""
        self.served: Model | None = None
        self.received_at = time.monotonic() if received_at is None else received_at
        self.respond_s = 0.0
        self.timeline: tuple[Phase, ...] = ()
        self._calls = calls
        self._whole = whole
        self._entered = False
        self._held_bytes = 0

    def __enter__(self) -> Self:
        self.begin()
        logs.origin.set(self.origin)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failure = self.finish(error)
        # A ServiceError is raised on as it is; any other error is hidden behind the failure.
        if failure is not None and failure is not error:
            raise failure from error

    def begin(self, size: int = 0) -> None:
        """
        Admit the call: count it, and the *size* of its request, as in flight until `finish`.

        Raises:
            ServiceError: If the client lacks the right, or the server accepts no more calls. The
                call is finished then.
        """
        calls = self._calls
        try:
            # Check rights before capacity: only an authorized client learns how busy the server is.
            calls.access.check(self.method, self.origin.token_digest)
            calls.lifecycle.enter(size, may_refuse=self.method in REFUSABLE_METHODS)
        except ServiceError as error:
            self.finish(error)
            raise
        self._entered = True
        self._held_bytes = size

    def hold(self, size: int) -> None:
        """
        Count *size* more bytes of the request as in flight until `finish`.

        Raises:
            ServerBusyError: If the requests in flight have too many bytes.
            RequestTooLargeError: If this one alone has.
        """
        self._calls.lifecycle.hold(size, self._held_bytes)
        self._held_bytes += size

    def label_unknown(self) -> None:
        """Label the call as one for an unknown model, until `use` names a served one."""
        self.model = UNKNOWN_MODEL

    def use(self, model: Model) -> None:
        """Hold *model* until `finish`; the call is counted under its name."""
        model.hold()
        self.served = model
        self.model = model.name

    @property
    def whole_id(self) -> int:
        """The `id` of the call of which this is one image of several; 0 for a call of its own."""
        return 0 if self._whole is None else id(self._whole)

    def part(self) -> Call:
        """
        Open the record of one image of the call.

        A part has times, outputs and an error of its own. It is counted for its model, but not as a
        call.
        """
        assert self.served is not None
        part = Call(self._calls, self.method, self.origin, self.deadline, self.received_at, self)
        part.use(self.served)
        return part

    def responded(self) -> None:
        """Measure the time from the outputs to the response, which is ready now."""
        self.respond_s = time.monotonic() - self.answered_at

    @property
    def phases(self) -> Mapping[str, float]:
        """The time spent in each phase, in seconds."""
        return {
            "decode": self.decode_s,
            "queue": self.queue_s,
            "inference": self.inference_s,
            "respond": self.respond_s,
        }

    def phases_run(self) -> Iterator[Phase]:
        """Yield the phases of a request that ran, in order. Gaps are waits for a thread."""
        if not self.batch_size:
            return
        queued = self.enqueued_at
        # A tensor has nothing to decode.
        if self.decode_s:
            yield Phase("decode", queued - self.decode_s, queued)
        started = queued + self.queue_s
        yield Phase("queue", queued, started)
        yield Phase("inference", started, started + self.inference_s)
        yield Phase("respond", self.answered_at, self.answered_at + self.respond_s)

    async def refresh_counts(self) -> None:
        """Fetch what other processes have counted, before metrics or statistics are read."""
        await self._calls.metrics.refresh()

    def finish(self, error: BaseException | None = None) -> ServiceError | None:
        """
        Do the bookkeeping of the call. To be called once, before the client is answered.

        Args:
            error: The error that ended it; None if it was answered.

        Returns:
            The error to send to the client; None if it was answered or cancelled.
        """
        self.done = True
        now = time.monotonic()
        failure = self._failure(error) if isinstance(error, Exception) else None
        model, self.served = self.served, None
        if model is not None:
            # A call that was not submitted itself has no images; its parts have been counted.
            if self.images:
                self._count_inference(model, now, error)
                for observe in self._calls.observers:
                    observe(self, model, failure)
            model.release()
        # Only the whole call is counted and logged; a part adds its times to the log line.
        if self._whole is None:
            self._count_call(model, now, error, failure)
        else:
            self._whole.add_times(self)
        return failure

    def add_times(self, part: Call) -> None:
        """Add the times of *part* to those of the call, for its log line."""
        self.decode_s += part.decode_s
        self.queue_s += part.queue_s
        self.inference_s += part.inference_s
        self.respond_s += part.respond_s
        self.batch_size = max(self.batch_size, part.batch_size)
        if self._calls.tracing is not None:
            self.timeline += tuple(part.phases_run())

    def _failure(self, error: Exception) -> ServiceError:
        """Return the error that the client receives; log an unexpected one."""
        if isinstance(error, ServiceError):
            failure = error
        else:  # it may reveal internals: the client learns nothing about it
            failure = InternalError("internal error")
            with logs.request_origin(self.origin):
                logger.error("internal error", exc_info=error)
        # An internal error is a failure, not a refusal.
        if failure.status != InternalError.status:
            self._calls.metrics.refused(failure.reason, self.model)
        return failure

    def _count_inference(self, model: Model, now: float, error: BaseException | None) -> None:
        """Count the phases that the request reached, and its answer or failure."""
        phase, statistics = model.metrics.phase, model.statistics
        if self.decode_s:
            phase["decode"].observe(self.decode_s)
        if self.batch_size:
            phase["queue"].observe(self.queue_s)
            phase["inference"].observe(self.inference_s)
        # It was answered. The fast path does not measure the response itself.
        if error is None and self.batch_size:
            if not self.respond_s:
                self.respond_s = now - self.answered_at
            phase["respond"].observe(self.respond_s)
            statistics.add_answer(
                self.images,
                total_s=now - self.received_at,
                queue_s=self.queue_s,
                input_s=self.decode_s + self.times.input_s,
                infer_s=self.times.infer_s,
                output_s=self.times.output_s + self.respond_s,
            )
        # It failed, its time was up, or its client has disconnected.
        else:
            statistics.fail.add(now - self.received_at)
        # The model may have lost its device: only a separate run can find out.
        if isinstance(error, InferenceError):
            model.suspect()
        # The model runs, but this image has no best class. A part has no line of its own.
        elif isinstance(error, ScoresNotFiniteError):
            self._calls.metrics.scores_not_finite.counts[model.name,] += 1
            kind = (self.method, model.name, error.status, error.reason)
            if (left_out := self._calls.failures[kind].take(now)) is not None:
                extra = {"model": model.name, "failures_left_out": left_out}
                with logs.request_origin(self.origin):
                    logger.error("scores are not finite", extra=extra)

    def _count_call(
        self,
        model: Model | None,
        now: float,
        error: BaseException | None,
        failure: ServiceError | None,
    ) -> None:
        """Count the call in the server's metrics, trace it, and write its log line."""
        calls, seconds = self._calls, now - self.received_at
        # A call that was refused by `begin` is not in flight.
        if self._entered:
            calls.lifecycle.leave(self._held_bytes)
        if failure is not None:
            status, reason = failure.status, failure.reason
        else:
            status, reason = "OK" if error is None else self._cancelled_status(now), ""
            # gRPC's timer fired before the queue's: count the refusal for the queue.
            if status == RequestExpiredError.status:
                calls.metrics.refused(RequestExpiredError.reason, self.model)
        calls.metrics.requests.counts[self.model, self.method, status] += 1
        trace_id = self.origin.sampled_trace
        if calls.tracing is not None:
            if self.images:
                self.timeline = tuple(self.phases_run())
            trace_id = calls.tracing.record(self, model, Ending(now, status, failure))
        if self.method in INFERENCE_METHODS:
            duration = calls.metrics.request_duration.labels(self.model)
            duration.observe(seconds)
            if trace_id:
                duration.keep_exemplar(seconds, trace_id)
        if status == "OK" and not calls.log_requests:
            return
        left_out: int | None = 0
        # An internal error is always logged; other failures once per kind and period.
        if not calls.log_requests and status != InternalError.status:
            left_out = calls.failures[self.method, self.model, status, reason].take(now)
        if left_out is not None:
            self._log(status, seconds, failure, left_out)

    def _cancelled_status(self, now: float) -> str:
        """Return the status of a cancelled call: the client disconnected, or its time was up."""
        allowed_s = self.deadline - self.received_at
        tolerance_s = min(_EXPIRY_TOLERANCE_SHARE * allowed_s, _EXPIRY_TOLERANCE_S)
        has_expired = now >= self.deadline - tolerance_s
        return RequestExpiredError.status if has_expired else "CANCELLED"

    def _log(
        self, status: str, seconds: float, failure: ServiceError | None, left_out: int
    ) -> None:
        # Without a run there are no phases to report.
        phases = self.phases if self.batch_size else {}
        values = {
            "method": self.method,
            "model": self.model,
            "code": status,
            "seconds": round(seconds, 6),
            **{f"{phase}_s": round(spent_s, 6) for phase, spent_s in phases.items()},
            **({"reason": failure.reason, "details": str(failure)} if failure else {}),
            **({"failures_left_out": left_out} if left_out else {}),
        }
        with logs.request_origin(self.origin):
            logger.info("request", extra=values)
