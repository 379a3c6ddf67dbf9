"""Small batches are run by the event loop itself: nothing that is promised changes."""

import asyncio
from typing import Any

import grpc
import pytest

from convoy.pb.convoy.v1 import classifier_pb2
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.batching.queue import Batch
from convoy.service.runtime.device import INLINE_MACS
from tests.harness import tiny
from tests.harness.calls import infer_request, logits
from tests.harness.images import png
from tests.harness.server import Running, Serve

pytestmark = pytest.mark.both_transports


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that goes to a thread fails."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a batch went to a thread")

    monkeypatch.setattr("convoy.service.batching.batcher._run_and_report", refuse)


async def classes(running: Running, firsts: list[int]) -> list[int]:
    """Return the classes of raw images that are sent all at once."""
    calls = [running.inference.ModelInfer(infer_request(first)) for first in firsts]
    return [int(logits(answer).argmax()) for answer in await asyncio.gather(*calls)]


@pytest.mark.usefixtures("no_threads")
async def test_right_answers(serve: Serve) -> None:
    """
    Many calls at once, of both kinds, each get their own answer.
    """
    async with serve(inline_macs=INLINE_MACS) as running:
        firsts = [number % tiny.POISON for number in range(300)]
        for _ in range(2):  # the second time they have templates
            assert await classes(running, firsts) == [tiny.answer(first) for first in firsts]
        request = classifier_pb2.ClassifyRequest(model="tiny", image=png(3), top_k=1)
        answer = await running.classifier.Classify(request)
    assert answer.predictions[0].class_index == 3
    assert answer.timing.inference_us > 0


async def test_poison(serve: Serve) -> None:
    """
    One that fails its batch fails alone; the halves of such a batch are run by threads.
    """
    async with serve(inline_macs=INLINE_MACS) as running:
        assert await classes(running, [1]) == [1]
        calls = [running.inference.ModelInfer(infer_request(first)) for first in (1, 2, 200, 3, 4)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        failed = ends.pop(2)
        assert isinstance(failed, grpc.aio.AioRpcError)
        assert failed.code() is grpc.StatusCode.INTERNAL
        answers = [end for end in ends if isinstance(end, pb.ModelInferResponse)]
        assert [int(logits(answer).argmax()) for answer in answers] == [1, 2, 3, 4]


async def test_more_than_the_loop_may_run(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A larger batch goes to a thread.
    """
    sizes: list[int] = []
    async with serve(inline_macs=4) as running:
        run = running.server.batcher._run_in_thread

        def noted(batch: Batch, rest: Any) -> None:
            sizes.append(batch.images)
            run(batch, rest)

        monkeypatch.setattr(running.server.batcher, "_run_in_thread", noted)
        for images in (1, 4, 5, 8):
            await running.inference.ModelInfer(infer_request(*[3] * images))
    assert sizes == [5, 8]
