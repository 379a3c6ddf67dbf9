"""ModelStreamInfer: many requests on one stream, each with its own answer."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import pytest

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.rpc.infer_service import STREAM_WINDOW
from tests.harness import tiny
from tests.harness.calls import infer_request, logits
from tests.harness.server import Running

pytestmark = [pytest.mark.both_transports, pytest.mark.with_fronts]


async def stream_of(
    requests: Iterable[pb.ModelInferRequest],
) -> AsyncIterator[pb.ModelInferRequest]:
    for request in requests:
        yield request


async def test_answers_keep_the_order(running: Running) -> None:
    """
    Requests beyond a stream's concurrency are answered in their order.
    """
    firsts = [number % tiny.POISON for number in range(3 * STREAM_WINDOW)]
    requests = (infer_request(first, id=str(place)) for place, first in enumerate(firsts))
    call = running.inference.ModelStreamInfer(stream_of(requests))
    with running.device_held():
        # The first may have gone to the device already, as far as the scheduler knows.
        await running.until(lambda: running.queue_depth() >= STREAM_WINDOW // 2)
    answers = [answer async for answer in call]
    assert [answer.infer_response.id for answer in answers] == [
        str(place) for place in range(len(firsts))
    ]
    assert [int(logits(answer.infer_response).argmax()) for answer in answers] == [
        tiny.answer(first) for first in firsts
    ]
    for answer in answers:
        assert answer.infer_response.parameters["triton_final_response"].bool_param
    runs = running.sample("convoy_batch_size_count", model="tiny")
    assert runs is not None
    assert runs < len(firsts)


async def test_failure_is_in_its_answer(running: Running) -> None:
    """
    A request that fails does not end the stream; its answer has its identifier and the reason.
    """
    requests = [
        infer_request(3, id="a"),
        infer_request(3, id="b", model_name="huge"),
        infer_request(tiny.POISON, id="c"),
        infer_request(4, id="d"),
    ]
    answers = [answer async for answer in running.inference.ModelStreamInfer(stream_of(requests))]
    told = [(a.infer_response.id, a.error_message) for a in answers]
    assert told == [
        ("a", ""),
        ("b", "no model is named 'huge'"),
        ("c", "the model failed on this input"),
        ("d", ""),
    ]
    assert answers[1].infer_response.parameters["error_reason"].string_param == "MODEL_NOT_FOUND"
    await running.counted()
    codes = {
        code: running.sample(
            "convoy_requests_total", model=model, method="ModelStreamInfer", code=code
        )
        for model, code in (("tiny", "OK"), ("unknown", "NOT_FOUND"), ("tiny", "INTERNAL"))
    }
    assert codes == {"OK": 2, "NOT_FOUND": 1, "INTERNAL": 1}


async def test_failure_as_status(running: Running) -> None:
    """
    A client that asks for it gets the first failure as the status of the stream.
    """

    # While a client of grpc.aio sends, it puts INTERNAL in place of a status that arrives.
    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        yield infer_request(3)
        yield infer_request(3, model_name="huge")
        await asyncio.Event().wait()

    call = running.inference.ModelStreamInfer(requests(), metadata=(("triton_grpc_error", "true"),))
    assert not (await call.read()).error_message
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call.read()
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    assert dict(failed.value.trailing_metadata() or ())["error-reason"] == "MODEL_NOT_FOUND"


async def test_failure_as_status_while_requests_arrive(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A stream that the server ends while it waits for the next request leaves no task behind.
    """
    wrong = infer_request(3)
    wrong.raw_input_contents[0] = b"12"

    async def one_stream() -> None:
        requests = [*[infer_request(3)] * 10, wrong, *[infer_request(3)] * 10]
        call = running.inference.ModelStreamInfer(
            stream_of(requests), metadata=(("triton_grpc_error", "true"),)
        )
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in call:
                pass

    await asyncio.gather(*(one_stream() for _ in range(20)))
    gc.collect()
    await asyncio.sleep(0)
    assert "never retrieved" not in caplog.text


async def test_bytes_that_are_no_message(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Bytes that are no request end the stream with a reason, once those before them are answered.
    """
    method: Any = running.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    call = method(iter([infer_request(3).SerializeToString(), b"\xff\xff\xff"]))
    first = pb.ModelStreamInferResponse.FromString(await call.read())
    assert int(logits(first.infer_response).argmax()) == tiny.answer(3)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call.read()
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert dict(failed.value.trailing_metadata() or ())["error-reason"] == "INVALID_ARGUMENT"
    labels = {"model": "", "method": "ModelStreamInfer", "code": "INVALID_ARGUMENT"}
    await running.counted()
    assert running.sample("convoy_requests_total", **labels) == 1
    assert "Traceback" not in caplog.text


async def test_client_that_does_not_read(running: Running) -> None:
    """
    A client that sends and never reads holds no more than a window of requests, its answers wait in
    the connection, and everybody else is answered.
    """
    requests = (infer_request(1, id="x" * 100_000) for _ in range(2000))
    call = running.inference.ModelStreamInfer(stream_of(requests))

    def answered() -> float:
        labels = {"model": "tiny", "method": "ModelStreamInfer", "code": "OK"}
        return running.sample("convoy_requests_total", **labels) or 0.0

    before = -1.0
    while answered() != before or not before:  # until the connection is full
        before = answered()
        for _ in range(10):
            await running.inference.ModelInfer(infer_request(1))
            await asyncio.sleep(0.01)
    assert STREAM_WINDOW <= before < 1000
    call.cancel()
    await running.until(lambda: running.in_flight == 0)
    assert running.queue_depth() == 0


async def test_cancelled_stream_frees_its_places(running: Running) -> None:
    """
    A client that ends its stream with requests in flight leaves no place taken.
    """
    with running.device_held():
        requests = [infer_request(1) for _ in range(2 * STREAM_WINDOW)]
        call = running.inference.ModelStreamInfer(stream_of(requests))
        await running.until(lambda: running.in_flight == STREAM_WINDOW)
        call.cancel()
        await running.until(lambda: running.in_flight == 0)
        assert running.queue_depth() == 0
    await running.inference.ModelInfer(infer_request(1))


async def test_open_stream_does_not_hold_the_end(running: Running) -> None:
    """
    A stream that stays open is ended by the server when it stops, its requests answered.
    """
    asked: asyncio.Queue[pb.ModelInferRequest] = asyncio.Queue()

    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        while True:
            yield await asked.get()

    call = running.inference.ModelStreamInfer(requests())
    asked.put_nowait(infer_request(7))
    assert logits((await call.read()).infer_response).argmax() == tiny.answer(7)
    async with asyncio.timeout(3):
        await running.server.drain(0)
        await running.server.stop_rpc()
    assert await call.read() is grpc.aio.EOF


async def test_draining_server_refuses_in_the_stream(running: Running) -> None:
    """
    A server that shuts down refuses the stream's further requests, and says why.
    """
    await running.server.drain(0)
    answers = [
        answer async for answer in running.inference.ModelStreamInfer(stream_of([infer_request(1)]))
    ]
    assert answers[0].infer_response.parameters["error_reason"].string_param == "SHUTTING_DOWN"
