"""A request that is like an earlier one is answered, refused and counted as the first one is."""

import asyncio
import gc
from typing import Any

import grpc
import numpy as np
import pytest

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import Call
from convoy.service.lifecycle import Phase
from convoy.service.protocol.templates import Templates
from convoy.service.rpc import grpcio, native
from tests.harness import tiny
from tests.harness.calls import infer_request, logits
from tests.harness.server import Running, Serve

pytestmark = pytest.mark.both_transports


async def repeat(
    running: Running, first: int = 4, timeout_s: float | None = None
) -> pb.ModelInferResponse:
    """Ask what was asked before, with other pixels."""
    return await running.inference.ModelInfer(infer_request(first), timeout=timeout_s)


@pytest.fixture
async def asked(running: Running) -> Running:
    """A server that was asked once."""
    await running.inference.ModelInfer(infer_request(3))
    return running


def requests(running: Running, code: str) -> float:
    """Calls that ended so."""
    labels = {"model": "tiny", "method": "ModelInfer", "code": code}
    return running.sample("convoy_requests_total", **labels) or 0


async def refused(running: Running) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await repeat(running)
    trailing = dict(failed.value.trailing_metadata() or ())
    assert trailing["x-request-id"]
    assert trailing["grpc-status-details-bin"]
    return failed.value.code(), str(trailing["error-reason"])


async def test_answers(asked: Running) -> None:
    """
    Many calls at once get their own answers and identifiers, and all are counted.
    """
    firsts = [first % tiny.CLASSES for first in range(100)]
    calls = [
        asked.inference.ModelInfer(infer_request(first, id=f"r-{number}"))
        for number, first in enumerate(firsts)
    ]
    answers = await asyncio.gather(*calls)
    assert [answer.id for answer in answers] == [f"r-{number}" for number in range(100)]
    assert [int(logits(answer).argmax()) for answer in answers] == firsts
    assert requests(asked, "OK") == 101
    statistics = await asked.inference.ModelStatistics(pb.ModelStatisticsRequest(name="tiny"))
    (stats,) = statistics.model_stats
    assert (stats.inference_count, stats.inference_stats.success.count) == (101, 101)
    for phase in ("queue", "inference", "respond"):
        labels = {"model": "tiny", "phase": phase}
        assert asked.sample("convoy_phase_duration_seconds_count", **labels) == 101
    assert asked.in_flight == 0


async def test_metadata(asked: Running) -> None:
    """
    The client's identifier comes back.
    """
    call = asked.inference.ModelInfer(infer_request(3), metadata=(("x-request-id", "mine"),))
    await call
    assert dict(await call.trailing_metadata())["x-request-id"] == "mine"


async def test_poisoned(asked: Running) -> None:
    """
    A request that the model fails on fails alone.
    """
    calls = [repeat(asked, first) for first in (1, tiny.POISON, 2)]
    one, poisoned, two = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(poisoned, grpc.aio.AioRpcError)
    assert poisoned.code() is grpc.StatusCode.INTERNAL
    assert isinstance(one, pb.ModelInferResponse)
    assert isinstance(two, pb.ModelInferResponse)
    assert np.argmax(logits(one)) == 1
    assert np.argmax(logits(two)) == 2
    assert requests(asked, "INTERNAL") == 1


async def test_queue_full(serve: Serve) -> None:
    """
    A full queue refuses, with the reason, and is counted.
    """
    async with serve(max_queue_size=2, max_batch_size=1, max_images_per_call=1) as running:
        await running.inference.ModelInfer(infer_request(3))
        with running.device_held():
            # The first to arrive is taken out of the queue for the device.
            waiting = [asyncio.ensure_future(repeat(running))]
            await running.until_running(1)
            waiting += [asyncio.ensure_future(repeat(running)) for _ in range(2)]
            await running.until_waiting(2)
            assert await refused(running) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        await asyncio.gather(*waiting)
    assert running.sample("convoy_rejected_total", model="tiny", reason="QUEUE_FULL") == 1


async def test_expired_and_cancelled(serve: Serve) -> None:
    """
    A client that disconnects, or whose deadline passes, frees its place at once.
    """
    async with serve(max_batch_size=1) as running:
        await running.inference.ModelInfer(infer_request(3))
        with running.device_held():
            first = asyncio.ensure_future(repeat(running))
            await running.until_running(1)
            leaving = asyncio.ensure_future(repeat(running))
            await running.until_waiting(1)
            leaving.cancel()
            await running.until_waiting(0)
            with pytest.raises(grpc.aio.AioRpcError) as expired:
                await repeat(running, timeout_s=0.05)
            assert expired.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await running.until_waiting(0)
        assert logits(await first).argmax() == 4
        await running.until(lambda: running.in_flight == 0)
        assert not getattr(running.server.rpc._transport, "_calls", None)
    assert requests(running, "CANCELLED") == 1
    assert requests(running, "DEADLINE_EXCEEDED") == 1


async def test_refusing(asked: Running) -> None:
    """
    A server that shuts down refuses.
    """
    asked.server.lifecycle.phase = Phase.REFUSING
    assert await refused(asked) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


async def test_unloading_waits(serve: Serve) -> None:
    """
    A model is closed after its pending requests are answered, and is unknown from then on.
    """
    async with serve(model_control_mode="explicit", load_model=["tiny"]) as running:
        await running.inference.ModelInfer(infer_request(3))
        with running.device_held():
            waiting = asyncio.ensure_future(repeat(running))
            await running.until_running(1)
            request = pb.RepositoryModelUnloadRequest(model_name="tiny")
            unloading = asyncio.ensure_future(running.inference.RepositoryModelUnload(request))
            await running.until(lambda: not running.server.registry.models())
            assert not unloading.done()
        assert logits(await waiting).argmax() == 4
        await unloading
        assert (await refused(running))[0] is grpc.StatusCode.NOT_FOUND


async def test_too_large(serve: Serve) -> None:
    """
    A request like an earlier one, with an identifier as long as no message may be, is refused.
    """
    async with serve(max_message_bytes=10_000, max_image_bytes=5_000) as running:
        for _ in range(2):
            await running.inference.ModelInfer(infer_request(3, id="r"))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.inference.ModelInfer(infer_request(3, id="r" * 10_000))
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(logits(await repeat(running)).argmax()) == 4


async def test_an_answer_that_cannot_be_given(
    asked: Running,
    transport: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    A failure to answer one call is logged; the others of its batch are answered.
    """
    module, name = (
        (native.NativeTransport, "_reply") if transport == "native" else (grpcio, "_resolve")
    )
    reply, broken = getattr(module, name), ["once"]

    def reply_but_once(*arguments: Any) -> None:
        if broken:
            broken.pop()
            raise RuntimeError("broken")
        reply(*arguments)

    monkeypatch.setattr(module, name, reply_but_once)
    with asked.device_held():
        calls = [asyncio.ensure_future(repeat(asked, timeout_s=2)) for _ in range(5)]
        await asked.until(lambda: asked.in_flight == 5)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, pb.ModelInferResponse) for one in outcomes) == 4
    assert "RuntimeError: broken" in caplog.text


async def test_a_call_that_cannot_be_begun(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A failure to begin one call of a burst fails that call only; the server goes on.
    """
    broken = ["once"]
    read = Templates.read

    def read_but_one(self: Templates, message: bytes) -> Any:
        if broken:
            broken.pop()
            raise RuntimeError("broken")
        return read(self, message)

    monkeypatch.setattr(Templates, "read", read_but_one)
    calls = [asyncio.ensure_future(repeat(running, timeout_s=5)) for _ in range(5)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    (failed,) = (one for one in outcomes if not isinstance(one, pb.ModelInferResponse))
    assert isinstance(failed, grpc.aio.AioRpcError)
    assert failed.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


async def test_no_reference_cycles(asked: Running) -> None:
    """
    The objects of a call are freed with its answer, without the garbage collector.
    """
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            await repeat(asked)
        # gRPC may hold the last call for a moment after its answer.
        await asked.until(lambda: not any(type(one) is Call for one in gc.get_objects()))
    finally:
        gc.enable()
