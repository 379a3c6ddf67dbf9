"""Traces: spans of calls reach a real collector, and harm nobody where there is none."""

from __future__ import annotations

import asyncio
import socket
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import format_trace_id
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

from convoy import AsyncClient, Client, ConvoyError
from convoy.service.errors import StartError
from convoy.service.serving.monitoring.tracing import open_tracing
from tests.harness import tiny
from tests.harness.calls import infer_request
from tests.harness.collector import Collector
from tests.harness.http import ask
from tests.harness.images import png
from tests.harness.server import Serve
from tests.harness.server_process import ServerProcess

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
PHASES = ["decode", "queue", "inference", "respond"]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the environment names; spans are sent soon."""
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.grpc_port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield collector


def _seconds(span: dict[str, Any]) -> float:
    return (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e9


@pytest.mark.both_transports
@pytest.mark.with_fronts
async def test_span_of_a_call(serve: Serve, collector: Collector) -> None:
    """
    A call has one span with its model, times and identifier; its phases are events in order.
    """
    async with serve(traces="calls") as running, AsyncClient(running.address) as client:
        answer = await client.classify(png(3), model="tiny")
        (span,) = await asyncio.to_thread(collector.wait_for, 1)
    assert span["name"] == "Classify tiny"
    assert span["kind"] == "SPAN_KIND_SERVER"
    assert [event["name"] for event in span["events"]] == PHASES
    times = [int(event["timeUnixNano"]) for event in span["events"]]
    assert times == sorted(times)
    assert int(span["startTimeUnixNano"]) <= times[0]
    assert times[-1] <= int(span["endTimeUnixNano"])
    assert abs(int(span["endTimeUnixNano"]) / 1e9 - time.time_ns() / 1e9) < 60
    attributes = span["attributes"]
    assert attributes["convoy.inference_s"] == pytest.approx(answer.timing.inference_s, abs=1e-6)
    assert attributes["convoy.model_version"] == "1"
    assert attributes["convoy.batch_size"] == "1"
    assert attributes["convoy.provider"] == "CPUExecutionProvider"
    assert attributes["rpc.response.status_code"] == "OK"
    assert len(attributes["convoy.request_id"]) == 32
    assert collector.resources[0]["service.name"] == "convoy"


async def test_spans_of_phases(serve: Serve, collector: Collector) -> None:
    """
    With a span for each phase, they are children of the call's; images of one call have their own.
    """
    async with serve(traces="phases") as running, AsyncClient(running.address) as client:
        await client.classify_batch([png(1), png(2)], model="tiny")
        spans = await asyncio.to_thread(collector.wait_for, 9)
    (call,) = [span for span in spans if span["name"] == "ClassifyBatch tiny"]
    children = [span for span in spans if span is not call]
    assert sorted(span["name"] for span in children) == sorted(PHASES * 2)
    assert {span["parentSpanId"] for span in children} == {call["spanId"]}
    assert {span["traceId"] for span in children} == {call["traceId"]}
    assert not call.get("events")
    assert all(0 <= _seconds(span) <= _seconds(call) for span in children)


async def test_callers_decision(serve: Serve, collector: Collector) -> None:
    """
    A span joins the caller's trace if that is sampled, and is left out if it is not.
    """
    async with serve(traces="calls") as running:
        for traceparent in (NOT_SAMPLED, SAMPLED):
            await running.inference.ModelInfer(
                infer_request(3), metadata=(("traceparent", traceparent),)
            )
        (span,) = await asyncio.to_thread(collector.wait_for, 1)
    assert b64decode(span["traceId"]).hex() == TRACE
    assert b64decode(span["parentSpanId"]).hex() == SPAN


@pytest.mark.both_transports
@pytest.mark.with_fronts
async def test_failures(serve: Serve, collector: Collector) -> None:
    """
    A failed call's span has its reason; only a fault of the server makes the span an error.
    """
    async with serve(traces="calls") as running, AsyncClient(running.address) as client:
        with pytest.raises(ConvoyError):
            await client.classify(b"no image", model="tiny")
        with pytest.raises(ConvoyError):
            await client.classify(png(3), model="none")
        with running.device_held():
            late = running.inference.ModelInfer(infer_request(1), timeout=0.2)
            with pytest.raises(grpc.aio.AioRpcError):
                await late
            await running.until(lambda: running.in_flight == 0)  # its deadline is later there
        bad, unknown, expired = await asyncio.to_thread(collector.wait_for, 3)
    assert bad["attributes"]["error.type"] == "INVALID_IMAGE"
    assert unknown["name"] == "Classify unknown"
    assert not bad.get("status")
    assert not unknown.get("status")
    assert expired["attributes"]["rpc.response.status_code"] == "DEADLINE_EXCEEDED"
    assert expired["status"]["code"] == "STATUS_CODE_ERROR"


async def test_http_protocol(
    serve: Serve, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    OpenTelemetry's variables choose OTLP over HTTP, the service's name, and the sampling.
    """
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.http_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "cameras")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    async with serve(traces="calls") as running, AsyncClient(running.address) as client:
        await client.classify(png(3), model="tiny")
        headers = {"traceparent": SAMPLED}
        image = png(3)
        answer = await ask("POST", f"{running.url}/v1/models/tiny/classify", image, headers)
        assert answer.status == 200
        (span,) = await asyncio.to_thread(collector.wait_for, 1)
    assert b64decode(span["traceId"]).hex() == TRACE
    assert collector.resources[0]["service.name"] == "cameras"


@pytest.mark.with_fronts
async def test_exemplars(serve: Serve) -> None:
    """
    Buckets of the latency show a sampled trace, to scrapers that read OpenMetrics.
    """
    async with serve() as running:
        for traceparent in (NOT_SAMPLED.replace("0af7", "0bad"), SAMPLED):
            await running.inference.ModelInfer(
                infer_request(3), metadata=(("traceparent", traceparent),)
            )
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        shown = await ask("GET", f"{running.url}/metrics", headers=accept)
        plain = await ask("GET", f"{running.url}/metrics")
    families = {family.name: family for family in parse(shown.body.decode())}
    samples = families["convoy_request_duration_seconds"].samples
    (exemplar,) = [sample.exemplar for sample in samples if sample.exemplar]
    assert exemplar.labels == {"trace_id": TRACE}
    assert 0 < exemplar.value < 10
    assert TRACE not in plain.body.decode()


@pytest.mark.parametrize("is_async", [False, True])
async def test_client_sends_its_span(serve: Serve, is_async: bool) -> None:
    """
    The client's calls carry the program's current span, so that the server's joins its trace.
    """
    tracer = TracerProvider().get_tracer("test")
    async with serve() as running:
        with tracer.start_as_current_span("work") as span:
            if is_async:
                async with AsyncClient(running.address) as client:
                    await client.classify(png(3), model="tiny")
            else:
                await asyncio.to_thread(_classify, running.address)
        children = running.server.metrics.request_duration.labels("tiny").exemplars
    (exemplar,) = filter(None, children)
    assert exemplar.labels["trace_id"] == format_trace_id(span.get_span_context().trace_id)


def _classify(address: str) -> None:
    with Client(address) as client:
        client.classify(png(3), model="tiny")


def test_collector_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Calls are answered, one line tells of it, spans beyond the queue are dropped, and the end of
    the server is not delayed. Once the collector is back, spans reach it.
    """
    tiny.write(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    with ServerProcess(tmp_path, "--traces", "calls") as server, Client(server.address) as client:
        ends_at = time.monotonic() + 20
        while not _lines(server) and time.monotonic() < ends_at:
            for _ in range(20):
                assert client.classify(png(3), model="tiny").predictions[0].class_index == 3
        time.sleep(2.5)  # two more attempts fail
        loggers = [line["logger"] for line in _lines(server)]
        assert sorted(set(loggers)) == sorted(loggers)
        with Collector(port) as collector:
            while not collector.spans and time.monotonic() < ends_at + 20:
                client.classify(png(3), model="tiny")
                time.sleep(0.1)
            assert collector.spans
        client.classify(png(3), model="tiny")
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 15


def _lines(server: ServerProcess) -> list[dict[str, Any]]:
    return [line for line in server.log if str(line["logger"]).startswith("opentelemetry")]


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A protocol that is none, and a number that is none, stop the start with their names.
    """
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke")
    with pytest.raises(StartError, match="'smoke'; expected grpc or http/protobuf"):
        open_tracing(phases=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    with pytest.raises(StartError, match=r"OTEL_.*soon"):
        open_tracing(phases=False)
