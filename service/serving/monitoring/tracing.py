"""Spans of calls, sent to an OpenTelemetry collector. Needs the extra `otel`.

OpenTelemetry's own environment variables name the collector and choose the sampling
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). A span is made
when its call has ended, from the times in the call's record.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_exporter
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_exporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, format_trace_id
from opentelemetry.trace import set_span_in_context as context_of
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from convoy.service.call import Call, Ending, Model
from convoy.service.errors import StartError
from convoy.service.telemetry.logs import redact

logger = logging.getLogger(__name__)

DISTRIBUTION = "convoy-serving"

CLOSE_TIMEOUT_S = 2.0
"""Longest wait for the last spans to reach the collector, in seconds."""

SERVER_FAULTS = frozenset(
    {"DATA_LOSS", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNIMPLEMENTED", "UNKNOWN"}
)
"""
The gRPC status codes that make a server's span an error.

https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
"""


class Tracing:
    """
    Sends a span of each sampled call to a collector.

    A caller's decision to sample holds, unless OTEL_TRACES_SAMPLER says otherwise. Spans wait in a
    bounded queue (OTEL_BSP_MAX_QUEUE_SIZE); those that find it full are dropped.

    Args:
        exporter: Sends spans to the collector.
        phases: Whether each phase of a call gets a span of its own, a child of the call's.
    """

    def __init__(self, exporter: SpanExporter, *, phases: bool) -> None:
        self._phases = phases
        self._exporter = exporter
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("convoy", version(DISTRIBUTION))
        self._parents = TraceContextTextMapPropagator()

    def record(self, call: Call, model: Model | None, ending: Ending) -> str:
        """
        Send the span of a call that has ended.

        Args:
            model: The model that answered it; None if it reached none.

        Returns:
            The trace's identifier, 32 hexadecimal digits; empty if the call is not sampled.
        """
        # The record has times of the monotonic clock, spans those of the wall clock.
        now, wall_ns = time.monotonic(), time.time_ns()

        def to_ns(at: float) -> int:
            return wall_ns - round((now - at) * 1e9)

        origin = call.origin
        parent = origin.traceparent and self._parents.extract({"traceparent": origin.traceparent})
        span = self._tracer.start_span(
            f"{call.method} {call.model}".rstrip(),
            parent or None,
            SpanKind.SERVER,
            start_time=to_ns(call.received_at),
        )
        if not span.is_recording():
            return ""
        _describe(span, call, model, ending)
        self._add_phases(span, call, to_ns)
        span.end(to_ns(ending.at))
        return format_trace_id(span.get_span_context().trace_id)

    def close(self) -> None:
        """Send the spans that wait, for at most `CLOSE_TIMEOUT_S`, and stop."""
        last = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(CLOSE_TIMEOUT_S)
        if last.is_alive():
            logger.warning("the last spans did not reach the collector")
            self._exporter.shutdown()

    def _add_phases(self, span: Span, call: Call, to_ns: Callable[[float], int]) -> None:
        for phase, started, ended in call.timeline:
            if not self._phases:
                span.add_event(phase, {"convoy.seconds": ended - started}, to_ns(started))
                continue
            child = self._tracer.start_span(phase, context_of(span), start_time=to_ns(started))
            child.end(to_ns(ended))


def open_tracing(*, phases: bool) -> Tracing:
    """
    Start to send spans.

    Args:
        phases: See `Tracing`.

    Raises:
        StartError: If a variable of OpenTelemetry has a value that cannot be used.
    """
    try:
        return Tracing(_exporter(), phases=phases)
    except (ValueError, OSError) as error:
        raise StartError(f"a variable OTEL_* is not valid: {error}") from error


def _exporter() -> SpanExporter:
    variables = os.environ  # noqa: TID251 - not settings of ours
    protocol = variables.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or variables.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"
    )
    if protocol == "grpc":
        return grpc_exporter.OTLPSpanExporter()
    if protocol == "http/protobuf":
        return http_exporter.OTLPSpanExporter()
    raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; expected grpc or http/protobuf")


def _resource() -> Resource:
    """Return the attributes of this process; OTEL_SERVICE_NAME and others have precedence."""
    found = Resource.create()
    # The library's own default names the interpreter.
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: "convoy"}))
    return Resource({"service.version": version(DISTRIBUTION)}).merge(found)


def _describe(span: Span, call: Call, model: Model | None, ending: Ending) -> None:
    """Set the attributes and the status of the call's span."""
    span.set_attributes(
        {
            "rpc.method": call.method,
            "rpc.response.status_code": ending.status,
            # A client may send a token where its request's identifier belongs.
            "convoy.request_id": redact(call.origin.request_id),
        }
    )
    if model is not None:
        span.set_attributes(
            {
                "convoy.model": model.name,
                "convoy.model_version": model.version,
                "convoy.provider": model.provider,
                "convoy.batch_size": call.batch_size,
                **{f"convoy.{phase}_s": spent_s for phase, spent_s in call.phases.items()},
            }
        )
    if ending.failure is not None:
        span.set_attribute("error.type", ending.failure.reason)
    if ending.status in SERVER_FAULTS:
        span.set_status(Status(StatusCode.ERROR, str(ending.failure or "")))
