import asyncio
import struct
from typing import Any

import grpc
import numpy as np
import pytest

from convoy.pb.inference import grpc_service_pb2 as pb
from tests import tiny
from tests.contract.conftest import Running, Serve
from tests.images import png


def infer_request(*firsts: int, **fields: Any) -> pb.ModelInferRequest:
    """Raw pixels, one image per number."""
    batch = np.concatenate([tiny.pixels(first) for first in firsts])
    request = pb.ModelInferRequest(model_name=fields.pop("model_name", "tiny"), **fields)
    request.inputs.add(name="image", datatype="UINT8", shape=batch.shape)
    request.raw_input_contents.append(batch.tobytes())
    return request


def logits(response: pb.ModelInferResponse) -> np.ndarray:
    """The output named `logits`."""
    index = [output.name for output in response.outputs].index("logits")
    values = np.frombuffer(response.raw_output_contents[index], np.float32)
    return values.reshape(response.outputs[index].shape)


async def test_infer(running: Running) -> None:
    """
    A raw batch gives every output, raw, with the request's identifier and the model's hash.
    """
    response = await running.inference.ModelInfer(infer_request(3, 6, id="r-1"))
    assert (response.model_name, response.model_version, response.id) == ("tiny", "1", "r-1")
    assert [(o.name, o.datatype, list(o.shape)) for o in response.outputs] == [
        ("logits", "FP32", [2, 5]),
        ("probabilities", "FP32", [2, 5]),
    ]
    assert not any(output.HasField("contents") for output in response.outputs)
    assert logits(response).argmax(1).tolist() == [3, 1]
    assert len(response.parameters["model_sha256"].string_param) == 64


async def test_requested_outputs(running: Running) -> None:
    """
    Only the outputs that are asked for come back, in the order asked for.
    """
    request = infer_request(0)
    for name in ("probabilities", "logits"):
        request.outputs.add(name=name)
    response = await running.inference.ModelInfer(request)
    assert [output.name for output in response.outputs] == ["probabilities", "logits"]
    assert len(response.raw_output_contents) == 2
    del request.outputs[0]
    response = await running.inference.ModelInfer(request)
    assert [output.name for output in response.outputs] == ["logits"]


async def test_encoded_images(running: Running) -> None:
    """
    Encoded images as BYTES give what their pixels give.
    """
    request = pb.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="image", datatype="BYTES", shape=[2])
    images = [png(3), png(6)]
    request.raw_input_contents.append(
        b"".join(struct.pack("<I", len(image)) + image for image in images)
    )
    response = await running.inference.ModelInfer(request)
    expected = await running.inference.ModelInfer(infer_request(3, 6))
    assert np.array_equal(logits(response), logits(expected))


async def test_bad_image_is_named_by_its_position(running: Running) -> None:
    """
    Of several encoded images, the message says which one is bad.
    """
    request = pb.ModelInferRequest(model_name="tiny")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[2])
    tensor.contents.bytes_contents.extend([png(0), b"nope"])
    with pytest.raises(grpc.aio.AioRpcError, match="image 1: the bytes are not"):
        await running.inference.ModelInfer(request)


async def test_requests_of_many_sizes_at_once(running: Running) -> None:
    """
    Requests of one to eight images are joined into batches and cut up again rightly.
    """

    async def ask(number: int) -> None:
        firsts = [(number * 7 + place) % tiny.POISON for place in range(number % 8 + 1)]
        response = await running.inference.ModelInfer(infer_request(*firsts))
        assert logits(response).argmax(1).tolist() == [tiny.answer(first) for first in firsts]

    with running.device_held():
        calls = [asyncio.create_task(ask(number)) for number in range(100)]
        await running.until(lambda: running.server._lifecycle.in_flight == 100)
    await asyncio.gather(*calls)
    runs = running.sample("convoy_batch_size_count", model="tiny")
    assert runs is not None
    assert runs < 100


async def test_poisoned_request_fails_alone(running: Running) -> None:
    """
    A request that makes ONNX Runtime fail harms none of those that share its batch.
    """
    firsts = [*range(20), tiny.POISON, *range(20, 40)]
    calls = (running.inference.ModelInfer(infer_request(first)) for first in firsts)
    results: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    poisoned = results.pop(20)
    assert isinstance(poisoned, grpc.aio.AioRpcError)
    assert poisoned.code() is grpc.StatusCode.INTERNAL
    assert poisoned.details() == "the model failed on this input"
    del firsts[20]
    answers = [int(logits(result).argmax()) for result in results]
    assert answers == [tiny.answer(first) for first in firsts]


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (infer_request(0, model_name="huge"), "NOT_FOUND", "no model is named 'huge'"),
        (infer_request(0, model_name="../tiny"), "NOT_FOUND", "no model"),
        (infer_request(0, model_version="2"), "NOT_FOUND", "has version 1, not '2'"),
        (infer_request(0, model_version="x"), "NOT_FOUND", "has version 1"),
        (infer_request(*range(9)), "INVALID_ARGUMENT", "must hold 1 to 8"),
        (pb.ModelInferRequest(model_name="tiny"), "INVALID_ARGUMENT", "0 inputs"),
    ],
)
async def test_errors(
    running: Running, request_: pb.ModelInferRequest, code: str, message: str
) -> None:
    """
    What cannot be answered fails with its code and says why.
    """
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await running.inference.ModelInfer(request_)
    assert failed.value.code().name == code
    assert message in (failed.value.details() or "")


async def test_unknown_output(running: Running) -> None:
    """
    An output that the model does not have is refused with the names that it has.
    """
    request = infer_request(0)
    request.outputs.add(name="scores")
    with pytest.raises(grpc.aio.AioRpcError, match="has outputs logits, probabilities"):
        await running.inference.ModelInfer(request)


async def test_outputs_are_not_multiplied(running: Running) -> None:
    """
    A small request cannot ask for the same output again and again.
    """
    request = infer_request(0)
    for _ in range(3):
        request.outputs.add(name="logits")
    with pytest.raises(grpc.aio.AioRpcError, match="no more than 2 outputs"):
        await running.inference.ModelInfer(request)


async def test_server_rpcs(running: Running) -> None:
    """
    The server lives, is ready, and says what it is.
    """
    inference = running.inference
    assert (await inference.ServerLive(pb.ServerLiveRequest())).live
    assert (await inference.ServerReady(pb.ServerReadyRequest())).ready
    metadata = await inference.ServerMetadata(pb.ServerMetadataRequest())
    assert (metadata.name, list(metadata.extensions)) == ("convoy", [])
    assert metadata.version


async def test_model_rpcs(running: Running) -> None:
    """
    A model says whether it is ready and what its tensors are.
    """
    inference = running.inference
    for version in ("", "1"):
        assert (
            await inference.ModelReady(pb.ModelReadyRequest(name="tiny", version=version))
        ).ready
    metadata = await inference.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
    assert (metadata.name, list(metadata.versions)) == ("tiny", ["1"])
    (tensor,) = metadata.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("image", "UINT8", [-1, 4, 4, 1])
    assert [(o.name, o.datatype, list(o.shape)) for o in metadata.outputs] == [
        ("logits", "FP32", [-1, 5]),
        ("probabilities", "FP32", [-1, 5]),
    ]
    for rpc, request in (
        (inference.ModelReady, pb.ModelReadyRequest(name="huge")),
        (inference.ModelMetadata, pb.ModelMetadataRequest(name="huge")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await rpc(request)
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND


async def test_loading(serve: Serve) -> None:
    """
    A server that loads lives, but neither it nor a model is ready.
    """
    async with serve(load=False) as running:
        inference = running.inference
        assert (await inference.ServerLive(pb.ServerLiveRequest())).live
        assert not (await inference.ServerReady(pb.ServerReadyRequest())).ready
        assert not (await inference.ModelReady(pb.ModelReadyRequest(name="tiny"))).ready


async def test_settings_overrule_the_artifacts_batch_size(serve: Serve) -> None:
    """
    `max_batch_size` of the settings counts where it is given.
    """
    async with serve(max_batch_size=2) as running:
        await running.inference.ModelInfer(infer_request(0, 1))
        with pytest.raises(grpc.aio.AioRpcError, match="must hold 1 to 2"):
            await running.inference.ModelInfer(infer_request(0, 1, 2))
