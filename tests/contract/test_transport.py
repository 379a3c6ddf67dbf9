"""The properties that both transports share, and those of one of them."""

import asyncio
import gc
import json
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import pytest

from convoy.pb.convoy.v1 import classifier_pb2
from convoy.pb.convoy.v1.classifier_pb2_grpc import ClassifierServiceStub
from convoy.pb.inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from convoy.service.app import Server
from convoy.service.errors import StartError
from convoy.service.settings import Settings
from convoy.service.telemetry.logs import JsonFormatter
from tests.harness import tiny
from tests.harness.calls import infer_request
from tests.harness.images import png
from tests.harness.server import Running, Serve

pytestmark = [pytest.mark.both_transports, pytest.mark.with_fronts]


async def test_native_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Asking for the native transport where its package is missing is one clear error.
    """
    monkeypatch.delitem(sys.modules, "convoy.service.rpc.native", raising=False)
    monkeypatch.setitem(sys.modules, "pygrpc_native", None)
    with pytest.raises(StartError, match="extra fast"):
        Server(Settings(transport="native", host="127.0.0.1"))


async def test_clients_that_left_are_not_in_the_log(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """
    grpc's tracebacks for answers to disconnected clients are dropped; other errors are logged.
    """
    log = logging.getLogger("grpc._cython.cygrpc")
    log.error("raised in core", exc_info=grpc.aio.InternalError('Failed "execute_batch"'))
    log.error("raised by a servicer", exc_info=ValueError("a defect"))
    assert "raised in core" not in caplog.text
    assert "raised by a servicer" in caplog.text


def ask_too_late(address: str) -> None:
    """Let the deadlines of two calls pass, and 50 ms more, as servers' clocks are no earlier."""
    image = classifier_pb2.ClassifyRequest(model="tiny", image=png(3), top_k=1)
    with grpc.insecure_channel(address) as channel:
        ends = [
            GRPCInferenceServiceStub(channel).ModelInfer.future(infer_request(3), timeout=0.2),
            ClassifierServiceStub(channel).Classify.future(image, timeout=0.2),
        ]
        assert [end.code() for end in ends] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
    time.sleep(0.05)


async def test_calls_that_expired_before_they_were_read(running: Running, transport: str) -> None:
    """
    A call whose deadline passes before the event loop sees it is only counted, for its model.
    """
    for _ in range(2):  # the second one has a template
        await running.inference.ModelInfer(infer_request(1))
    with ThreadPoolExecutor() as threads:
        threads.submit(ask_too_late, running.address).result()  # the event loop stands still
    assert await running.inference.ModelInfer(infer_request(2))
    assert running.sample("convoy_batch_size_sum", model="tiny") == 3
    if transport == "grpcio":  # ends them itself
        return
    for method in ("ModelInfer", "Classify"):
        expired = {"model": "tiny", "code": "DEADLINE_EXCEEDED", "method": method}
        assert running.sample("convoy_requests_total", **expired) == 1
    assert running.sample("convoy_rejected_total", model="tiny", reason="REQUEST_EXPIRED") == 2
    assert running.sample("convoy_request_duration_seconds_count", model="tiny") == 5
    assert running.in_flight == 0


async def test_burst(running: Running) -> None:
    """
    Many calls at once, more than one burst holds, each get their own answer.
    """
    firsts = [number % tiny.POISON for number in range(600)]
    calls = [
        running.classifier.Classify(
            classifier_pb2.ClassifyRequest(model="tiny", image=png(first), top_k=1)
        )
        for first in firsts
    ]
    answers = await asyncio.gather(*calls)
    found = [answer.predictions[0].class_index for answer in answers]
    assert found == [tiny.answer(first) for first in firsts]


def tasks_that_are_kept() -> int:
    """Return the number of finished tasks that are still referenced."""
    gc.collect()
    # Not isinstance: it asks each object for its class, and torch has some that warn then.
    return sum(issubclass(type(one), asyncio.Task) and one.done() for one in gc.get_objects())


async def test_calls_cancelled_at_any_moment(running: Running) -> None:
    """
    Calls that are cancelled before their turn comes, while they are answered, or after it, leave
    nothing behind.
    """

    async def leave(after_s: float) -> None:
        request = classifier_pb2.ClassifyRequest(model="tiny", image=png(3))
        call = running.classifier.Classify(request)
        asyncio.get_running_loop().call_later(after_s, call.cancel)
        with suppress(asyncio.CancelledError):
            await call

    before = tasks_that_are_kept()
    for number in range(100):
        await asyncio.gather(*(leave(number * 5e-5) for _ in range(4)))
    await running.until(lambda: running.in_flight == 0)
    await asyncio.sleep(0.1)  # nothing to wait for: nobody tells when the last cancellation came
    assert tasks_that_are_kept() < before + 10


async def test_compressed_request(running: Running) -> None:
    """
    A client may compress its requests.
    """
    request = classifier_pb2.ClassifyRequest(model="tiny", image=png(3), top_k=1)
    answer = await running.classifier.Classify(request, compression=grpc.Compression.Gzip)
    assert answer.predictions[0].class_index == tiny.answer(3)


class Lines(logging.Handler):
    """Keeps what the log would say, as objects."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.mark.one_process
async def test_log_of_requests(serve: Serve) -> None:
    """
    Each request has a line with its identifier, its trace, its model, its end, and where its time
    went; identifier and trace go back with the answer.
    """
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    handler = Lines()
    logger = logging.getLogger("convoy.service.call")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        async with serve(log_requests=True) as running:
            classify = classifier_pb2.ClassifyRequest(model="tiny", image=png(3))
            sent = (("x-request-id", "mine"), ("traceparent", trace))
            calls = [
                running.inference.ModelInfer(infer_request(3), metadata=sent),
                running.classifier.Classify(classify, metadata=sent),
            ]
            await asyncio.gather(*calls)
            again = running.inference.ModelInfer(infer_request(4), metadata=sent)
            await again
            for call in (*calls, again):
                assert dict(await call.trailing_metadata())["traceparent"] == trace
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await running.inference.ModelInfer(
                    infer_request(3, model_name="none"), metadata=sent
                )
            assert dict(failed.value.trailing_metadata() or ())["traceparent"] == trace
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert len(handler.lines) == 4
    for line in handler.lines:
        assert (line["request_id"], line["traceparent"]) == ("mine", trace)
    *answered, refused = handler.lines
    for line in answered:
        assert (line["message"], line["code"], line["model"]) == ("request", "OK", "tiny")
        phases = [line[f"{phase}_s"] for phase in ("decode", "queue", "inference", "respond")]
        assert 0 < sum(phases) <= line["seconds"] + 0.001
        assert line["inference_s"] > 0
    assert (refused["code"], refused["model"]) == ("NOT_FOUND", "unknown")
