"""Requests beyond the capacity, and clients that disconnect."""

import asyncio
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from convoy.pb.convoy.v1 import classifier_pb2 as pb
from tests.harness import tiny
from tests.harness.images import png
from tests.harness.server import Running, Serve

pytestmark = [pytest.mark.both_transports, pytest.mark.with_fronts]


def classify(running: Running, first: int = 0, **options: float) -> Any:
    """Start a call."""
    request = pb.ClassifyRequest(model="tiny", image=png(first), top_k=1)
    return running.classifier.Classify(request, **options)


async def test_full_queue_refuses_at_once(serve: Serve, transport: str) -> None:
    """
    With the device busy and the queue full, the next call is refused, and the others answered.
    """
    async with serve(max_batch_size=2, max_queue_size=4, max_images_per_call=4) as running:
        with running.device_held():
            # The first to arrive is taken out of the queue for the device.
            calls = [classify(running, 0)]
            await running.until_running(1)
            calls += [classify(running, first) for first in range(1, 5)]
            await running.until_waiting(4)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await classify(running, 5)
            assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "4 images are waiting" in (failed.value.details() or "")
            trailing = dict(failed.value.trailing_metadata() or ())
            if transport == "grpcio":  # the other one cannot send it
                assert int(trailing["grpc-retry-pushback-ms"]) >= 10
            status = status_pb2.Status.FromString(cast(bytes, trailing["grpc-status-details-bin"]))
            reason, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            assert status.code == code_pb2.RESOURCE_EXHAUSTED
            assert status.details[0].Unpack(reason)
            assert status.details[1].Unpack(retry)
            assert (reason.reason, reason.domain) == ("QUEUE_FULL", "convoy")
            assert retry.retry_delay.ToMilliseconds() >= 10
        answers = await asyncio.gather(*calls)
    assert [answer.predictions[0].class_index for answer in answers] == [0, 1, 2, 3, 4]
    assert running.sample("convoy_rejected_total", model="tiny", reason="QUEUE_FULL") == 1


async def test_cancelled_calls_free_their_places(running: Running) -> None:
    """
    A cancelled call leaves the queue at once and costs no inference.
    """
    with running.device_held():
        first = classify(running)
        await running.until_running(1)
        leavers = [classify(running) for _ in range(5)]
        await running.until_waiting(5)
        for call in leavers:
            call.cancel()
        await running.until_waiting(0)
    await first
    labels = {"model": "tiny", "method": "Classify"}
    assert running.sample("convoy_requests_total", code="CANCELLED", **labels) == 5
    assert running.sample("convoy_batch_size_sum", model="tiny") == 1


async def test_deadline_that_passes_in_the_queue(running: Running) -> None:
    """
    A call whose deadline passes while it waits fails with it and is not computed.
    """
    with running.device_held():
        first = classify(running)
        await running.until_running(1)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await classify(running, timeout=0.5)
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await running.until_waiting(0)
        await running.until(lambda: running.in_flight == 1)
    await first
    assert running.sample("convoy_batch_size_sum", model="tiny") == 1
    labels = {"model": "tiny", "method": "Classify", "code": "DEADLINE_EXCEEDED"}
    assert running.sample("convoy_requests_total", **labels) == 1
    assert running.sample("convoy_rejected_total", model="tiny", reason="REQUEST_EXPIRED") == 1


async def test_cancelled_before_its_deadline(running: Running) -> None:
    """
    A client that hangs up early has not let its deadline pass.
    """
    with running.device_held():
        first = classify(running)
        await running.until_running(1)
        leaver = classify(running, timeout=5.0)
        await running.until_waiting(1)
        leaver.cancel()
        await running.until_waiting(0)
    await first
    labels = {"model": "tiny", "method": "Classify"}
    assert running.sample("convoy_requests_total", code="CANCELLED", **labels) == 1
    assert running.sample("convoy_requests_total", code="DEADLINE_EXCEEDED", **labels) is None


async def test_a_crowded_model_does_not_starve_another(serve: Serve, tmp_path: Path) -> None:
    """
    With a hundred images waiting for one model, a single one for another is answered soon.
    """
    tiny.write(tmp_path, "other")
    async with serve(max_batch_size=1) as running:
        with running.device_held():
            crowd = [classify(running, first) for first in range(100)]
            await running.until_waiting(99)
            single = running.classifier.Classify(
                pb.ClassifyRequest(model="other", image=png(3), top_k=1)
            )
            await running.until_waiting(1, "other")
        assert (await single).predictions[0].class_index == 3
        assert running.queue_depth() > 50
        await asyncio.gather(*crowd)


async def test_deadline_that_cannot_be_met(running: Running) -> None:
    """
    A call whose deadline the queue cannot meet is refused at once, with a time to retry.
    """
    queue = running.server.registry.get("tiny")._queue
    for size in (1, 2, 4, 8):
        queue.latency.add(size, 100.0)
    with running.device_held():
        waiting = asyncio.ensure_future(classify(running, 3))
        await running.until_running(1)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await classify(running, 4, timeout=5.0)
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailing = dict(failed.value.trailing_metadata() or ())
        assert trailing["error-reason"] == "DEADLINE_UNMEETABLE"
        assert not waiting.done()
    assert (await waiting).predictions[0].class_index == tiny.answer(3)
    refused = running.sample("convoy_rejected_total", model="tiny", reason="DEADLINE_UNMEETABLE")
    assert refused == 1
