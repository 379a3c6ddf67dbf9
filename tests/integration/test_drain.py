"""The end of a server, step by step; tests/e2e does it with a process and a signal."""

import asyncio

import grpc
import pytest

from convoy.pb.convoy.v1 import classifier_pb2
from convoy.pb.inference import grpc_service_pb2
from convoy.service.lifecycle import Phase
from tests.harness.images import png
from tests.harness.server import Running, Serve

pytestmark = [pytest.mark.both_transports, pytest.mark.with_fronts]

REQUEST = classifier_pb2.ClassifyRequest(model="tiny", image=png(3), top_k=1)


async def test_serves_during_the_grace_period(running: Running) -> None:
    """
    In the grace the server says that it is not ready, and answers as before.
    """
    draining = asyncio.create_task(running.server.drain(60.0))
    await running.until(lambda: running.server.lifecycle.phase is Phase.LEAVING)
    assert not (await running.inference.ServerReady(grpc_service_pb2.ServerReadyRequest())).ready
    assert (await running.inference.ServerLive(grpc_service_pb2.ServerLiveRequest())).live
    answer = await running.classifier.Classify(REQUEST)
    assert answer.predictions[0].class_index == 3
    draining.cancel()


async def test_finishes_what_is_in_flight_and_refuses_the_rest(running: Running) -> None:
    """
    After the grace, calls in flight are answered and new ones refused with a reason.
    """
    with running.device_held():
        accepted = [running.classifier.Classify(REQUEST) for _ in range(10)]
        await running.until(lambda: running.in_flight == 10)
        draining = asyncio.create_task(running.server.drain(0.0))
        await running.until(lambda: running.server.lifecycle.phase is Phase.REFUSING)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await running.classifier.Classify(REQUEST)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        trailers = dict(refused.value.trailing_metadata() or ())
        assert trailers["error-reason"] == "SHUTTING_DOWN"
        assert not draining.done()
        assert running.sample("convoy_model_ready", model="tiny", version="1") == 0
    answers = await asyncio.gather(*accepted)
    assert {answer.predictions[0].class_index for answer in answers} == {3}
    async with asyncio.timeout(1):
        await draining


async def test_no_request_waits_for_others(serve: Serve) -> None:
    """
    A request that waits for a fuller batch runs as soon as the server refuses new ones.
    """
    async with serve(max_queue_delay_ms=60_000) as running:
        waiting = running.classifier.Classify(REQUEST)
        await running.until_waiting(1)
        async with asyncio.timeout(10):
            await running.server.drain(0.0)
            assert (await waiting).predictions[0].class_index == 3


async def test_calls_that_never_end_are_left_behind(serve: Serve) -> None:
    """
    The wait for calls in flight is bounded.
    """
    async with serve(shutdown_timeout_s=0.05) as running:
        with running.device_held():
            stuck = running.classifier.Classify(REQUEST)
            await running.until(lambda: running.in_flight == 1)
            await running.server.drain(0.0)
            assert running.in_flight == 1
        await stuck
