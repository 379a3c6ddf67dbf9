import asyncio
from typing import Any

import grpc
import numpy as np
import pytest

from convoy.artifact.manifest import Manifest
from convoy.pb.convoy.v1 import classifier_pb2 as pb
from convoy.service.call import Request
from convoy.service.machine.resources import has_gpu
from tests.harness import tiny
from tests.harness.images import encode, gradient, png
from tests.harness.server import Running, Serve

pytestmark = [pytest.mark.both_transports, pytest.mark.with_fronts]


def reason(error: grpc.aio.AioRpcError) -> str:
    """The stable reason in the trailers."""
    return str(dict(error.trailing_metadata() or ())["error-reason"])


async def test_classify(running: Running) -> None:
    """
    An image gives its classes, with time, batch and the hash of the model.
    """
    answer = await running.classifier.Classify(
        pb.ClassifyRequest(model="tiny", image=png(7), top_k=2)
    )
    assert [p.class_index for p in answer.predictions] == [2, 0]
    assert answer.predictions[0].label == "class 2"
    assert answer.predictions[0].probability == pytest.approx(0.9998, abs=1e-4)
    assert (answer.model, answer.model_version) == ("tiny", 1)
    (model,) = (await running.classifier.ListModels(pb.ListModelsRequest())).models
    assert answer.model_sha256 == model.sha256
    assert answer.timing.decode_us > 0
    assert answer.timing.inference_us > 0
    assert answer.timing.respond_us > 0
    assert answer.timing.batch_size == 1


async def test_top_k_defaults_and_is_capped(running: Running) -> None:
    """
    0 stands for five; more than there are classes gives all.
    """
    for top_k in (0, 1000):
        request = pb.ClassifyRequest(model="tiny", image=png(0), top_k=top_k)
        assert len((await running.classifier.Classify(request)).predictions) == tiny.CLASSES


async def test_list_models(running: Running) -> None:
    """
    A model is listed with what a client needs to know, its provider and labels included.
    """
    (model,) = (await running.classifier.ListModels(pb.ListModelsRequest())).models
    assert (model.name, model.version, model.architecture) == ("tiny", 1, "tiny")
    assert list(model.labels) == [f"class {index}" for index in range(5)]
    assert (model.input_height_px, model.input_width_px, model.input_channel_count) == (4, 4, 1)
    assert (model.class_count, model.max_batch_size, model.precision) == (5, 8, "float32")
    assert model.provider == "CPUExecutionProvider"
    assert bool(model.fallback_reason) == has_gpu()


async def test_each_call_gets_its_own_answer(running: Running) -> None:
    """
    Many calls at once get the answers to their own images, and batches form.
    """

    async def ask(first: int) -> tuple[int, int]:
        request = pb.ClassifyRequest(model="tiny", image=png(first), top_k=1)
        answer = await running.classifier.Classify(request)
        return answer.predictions[0].class_index, answer.timing.batch_size

    with running.device_held():
        calls = [asyncio.create_task(ask(first)) for first in range(150)]
        await running.until(lambda: running.queue_depth() > 100)
    answers = await asyncio.gather(*calls)
    assert [index for index, _ in answers] == [tiny.answer(first) for first in range(150)]
    assert max(size for _, size in answers) > 1


@pytest.mark.parametrize(
    ("request_", "code", "expected"),
    [
        (pb.ClassifyRequest(model="tiny"), "INVALID_ARGUMENT", "INVALID_IMAGE"),
        (pb.ClassifyRequest(model="tiny", image=b"hello"), "INVALID_ARGUMENT", "INVALID_IMAGE"),
        (
            pb.ClassifyRequest(model="tiny", image=encode(gradient())[:100]),
            "INVALID_ARGUMENT",
            "INVALID_IMAGE",
        ),
        (
            pb.ClassifyRequest(model="tiny", image=bytes(2001)),
            "INVALID_ARGUMENT",
            "IMAGE_TOO_LARGE",
        ),
        (
            pb.ClassifyRequest(model="tiny", image=encode(gradient("L", (101, 101)))),
            "INVALID_ARGUMENT",
            "IMAGE_TOO_LARGE",
        ),
        (
            pb.ClassifyRequest(model="tiny", image=png(0), top_k=-1),
            "INVALID_ARGUMENT",
            "INVALID_ARGUMENT",
        ),
        (pb.ClassifyRequest(model="huge", image=png(0)), "NOT_FOUND", "MODEL_NOT_FOUND"),
        (pb.ClassifyRequest(image=png(0)), "NOT_FOUND", "MODEL_NOT_FOUND"),
        (
            pb.ClassifyRequest(model="tiny", image=png(tiny.POISON)),
            "INTERNAL",
            "INFERENCE_FAILED",
        ),
    ],
)
async def test_errors(serve: Serve, request_: pb.ClassifyRequest, code: str, expected: str) -> None:
    """
    A bad request fails with its code and reason, and the next call is answered.
    """
    async with serve(max_image_bytes=2000, max_image_pixels=10_000) as running:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.classifier.Classify(request_)
        assert failed.value.code().name == code
        assert reason(failed.value) == expected
        await running.classifier.Classify(pb.ClassifyRequest(model="tiny", image=png(0)))


async def test_too_large_image_says_what_to_do(serve: Serve) -> None:
    """
    The message has the size, the limit, and two remedies: one for the client, one for the operator.
    """
    async with serve(max_image_pixels=10_000) as running:
        request = pb.ClassifyRequest(model="tiny", image=encode(gradient("L", (101, 100))))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.classifier.Classify(request)
        assert failed.value.details() == (
            "the image has 101x100 pixels; at most 10000 are accepted: make it smaller, or ask "
            "for the server's limits on images to be raised"
        )


async def test_message_over_the_limit(serve: Serve, transport: str) -> None:
    """
    A message that is too large is refused, by grpcio itself without a reason, and others go on.
    """
    async with serve(max_image_bytes=1000, max_message_bytes=5000) as running:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.classifier.Classify(pb.ClassifyRequest(model="tiny", image=bytes(6000)))
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        if transport == "native":
            assert reason(failed.value) == "REQUEST_TOO_LARGE"
            told = {"model": "", "reason": "REQUEST_TOO_LARGE"}
            assert running.sample("convoy_rejected_total", **told) == 1
        await running.classifier.Classify(pb.ClassifyRequest(model="tiny", image=png(0)))


async def test_batch(running: Running) -> None:
    """
    The images of one call have their own outcomes, in order; a bad one affects no other.
    """
    images = [png(first) for first in range(20)]
    images[3] = b"not an image"
    images[5] = png(tiny.POISON)
    answer = await running.classifier.ClassifyBatch(
        pb.ClassifyBatchRequest(model="tiny", images=images, top_k=1)
    )
    reasons = {i: o.error.reason for i, o in enumerate(answer.outcomes) if o.HasField("error")}
    assert reasons == {3: "INVALID_IMAGE", 5: "INFERENCE_FAILED"}
    assert answer.outcomes[3].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    for first, outcome in enumerate(answer.outcomes):
        if first not in reasons:
            assert outcome.response.predictions[0].class_index == tiny.answer(first)


@pytest.mark.parametrize("count", [0, 5])
async def test_batch_of_a_wrong_size(serve: Serve, count: int) -> None:
    """
    A batch call must hold at least one image and not too many.
    """
    async with serve(max_images_per_call=4) as running:
        request = pb.ClassifyBatchRequest(model="tiny", images=[png(0)] * count)
        with pytest.raises(grpc.aio.AioRpcError, match="it must have 1 to 4") as failed:
            await running.classifier.ClassifyBatch(request)
        assert reason(failed.value) == "INVALID_ARGUMENT"


async def test_batch_that_does_not_fit_the_queue(serve: Serve) -> None:
    """
    A batch call that finds too little room is refused whole, before anything is decoded.
    """
    async with serve(max_queue_size=8, max_images_per_call=8) as running:
        with running.device_held():
            first = running.classifier.Classify(pb.ClassifyRequest(model="tiny", image=png(0)))
            await running.until_running(1)
            second = running.classifier.Classify(pb.ClassifyRequest(model="tiny", image=png(0)))
            await running.until_waiting(1)
            request = pb.ClassifyBatchRequest(model="tiny", images=[png(0)] * 8)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await running.classifier.ClassifyBatch(request)
            assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert reason(failed.value) == "QUEUE_FULL"
            assert running.queue_depth() == 1
        await asyncio.gather(first, second)
        await running.classifier.ClassifyBatch(request)


@pytest.mark.one_process
async def test_unforeseen_error_of_one_image(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    An unforeseen error of one image of a batch leaves the others answered, and no place taken.
    """
    decode = running.server.decoder.decode

    async def fail_for_one(request: Request, images: list[bytes], manifest: Manifest) -> np.ndarray:
        if images == [b"memory"]:
            raise MemoryError("secret")
        return await decode(request, images, manifest)

    monkeypatch.setattr(running.server.decoder, "decode", fail_for_one)
    request = pb.ClassifyBatchRequest(model="tiny", images=[b"memory", png(1), png(2)])
    first, *others = (await running.classifier.ClassifyBatch(request)).outcomes
    assert (first.error.code, first.error.reason) == (13, "INTERNAL")
    assert "secret" not in first.error.message
    assert [outcome.response.predictions[0].class_index for outcome in others] == [1, 2]
    assert running.queue_depth() == 0


async def test_bytes_that_are_no_message(running: Running) -> None:
    """
    Bytes that are no request are the client's mistake, with a reason, and are counted.
    """
    call: Any = running.channel.unary_unary("/convoy.v1.ClassifierService/Classify")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(b"\xff\xff\xff")
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(failed.value) == "INVALID_ARGUMENT"
    labels = {"model": "", "method": "Classify", "code": "INVALID_ARGUMENT"}
    assert running.sample("convoy_requests_total", **labels) == 1


async def test_loading(serve: Serve) -> None:
    """
    Calls before the models are loaded fail as UNAVAILABLE, so that clients retry.
    """
    async with serve(load=False) as running:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.classifier.Classify(pb.ClassifyRequest(model="tiny", image=png(0)))
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(failed.value) == "MODEL_NOT_READY"
        assert not (await running.classifier.ListModels(pb.ListModelsRequest())).models


async def test_request_id(running: Running) -> None:
    """
    A request keeps the identifier it came with; without one, or with a bad one, it gets one.
    """
    for sent, kept in (("abc-1", True), (None, False), ("x" * 200, False)):
        metadata = (("x-request-id", sent),) if sent else ()
        call = running.classifier.ListModels(pb.ListModelsRequest(), metadata=metadata)
        returned = dict(await call.trailing_metadata() or ())["x-request-id"]
        assert (returned == sent) is kept
        assert 8 <= len(str(returned)) <= 128 or kept
