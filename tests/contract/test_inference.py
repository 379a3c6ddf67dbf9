import asyncio
import logging
import struct
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import pytest

from convoy.pb.inference import grpc_service_pb2 as pb
from tests.harness import tiny
from tests.harness.calls import infer_request, logits
from tests.harness.images import png
from tests.harness.server import Running, Serve

pytestmark = [pytest.mark.both_transports, pytest.mark.with_fronts]


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


async def test_timing(running: Running) -> None:
    """
    Each request that asks for it gets the timing of its phases.
    """
    request = infer_request(0)
    request.parameters["timing"].bool_param = True
    for _ in range(2):
        told = (await running.inference.ModelInfer(request)).parameters
        assert told["inference_us"].int64_param > 0
        assert told["batch_size"].int64_param == 1


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
    The message says which of several encoded images is bad.
    """
    request = pb.ModelInferRequest(model_name="tiny")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[2])
    tensor.contents.bytes_contents.extend([png(0), b"nope"])
    with pytest.raises(grpc.aio.AioRpcError, match="image 1: this is text"):
        await running.inference.ModelInfer(request)


async def test_requests_of_many_sizes_at_once(running: Running) -> None:
    """
    Requests of one to eight images share batches, and each gets its own rows.
    """

    async def ask(number: int) -> None:
        firsts = [(number * 7 + place) % tiny.POISON for place in range(number % 8 + 1)]
        response = await running.inference.ModelInfer(infer_request(*firsts))
        assert logits(response).argmax(1).tolist() == [tiny.answer(first) for first in firsts]

    with running.device_held():
        calls = [asyncio.create_task(ask(number)) for number in range(100)]
        await running.until(lambda: running.in_flight == 100)
    await asyncio.gather(*calls)
    runs = running.sample("convoy_batch_size_count", model="tiny")
    assert runs is not None
    assert runs < 100


async def test_poisoned_request_fails_alone(running: Running) -> None:
    """
    A request that makes ONNX Runtime fail does not affect the others of its batch.
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
        (infer_request(0, model_version="2"), "NOT_FOUND", "has no version '2'; it serves 1"),
        (infer_request(0, model_version="x"), "NOT_FOUND", "it serves 1"),
        (infer_request(*range(9)), "INVALID_ARGUMENT", "must have 1 to 8"),
        (pb.ModelInferRequest(model_name="tiny"), "INVALID_ARGUMENT", "0 inputs"),
    ],
)
async def test_errors(
    running: Running, request_: pb.ModelInferRequest, code: str, message: str
) -> None:
    """
    A bad request fails with its code and the reason.
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
    with pytest.raises(
        grpc.aio.AioRpcError, match="has no output 'scores': expected logits or probabilities"
    ):
        await running.inference.ModelInfer(request)


async def test_outputs_are_not_multiplied(running: Running) -> None:
    """
    A small request cannot ask for the same output again and again.
    """
    request = infer_request(0)
    for _ in range(3):
        request.outputs.add(name="logits")
    with pytest.raises(grpc.aio.AioRpcError, match="too many outputs requested: model tiny has 2"):
        await running.inference.ModelInfer(request)


async def test_server_rpcs(running: Running) -> None:
    """
    The server lives, is ready, and says what it is.
    """
    inference = running.inference
    assert (await inference.ServerLive(pb.ServerLiveRequest())).live
    assert (await inference.ServerReady(pb.ServerReadyRequest())).ready
    metadata = await inference.ServerMetadata(pb.ServerMetadataRequest())
    assert metadata.name == "convoy"
    assert metadata.version
    assert {"classification", "model_repository", "statistics"} <= set(metadata.extensions)
    assert not any("shared_memory" in extension for extension in metadata.extensions)


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
    for name, version in (("huge", ""), ("tiny", "7"), ("tiny", "x"), ("", "")):
        ready = await inference.ModelReady(pb.ModelReadyRequest(name=name, version=version))
        assert not ready.ready
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await inference.ModelMetadata(pb.ModelMetadataRequest(name=name, version=version))
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
        with pytest.raises(grpc.aio.AioRpcError, match="must have 1 to 2"):
            await running.inference.ModelInfer(infer_request(0, 1, 2))


def texts(response: pb.ModelInferResponse, place: int = 0) -> list[str]:
    """Elements of a BYTES output."""
    assert response.outputs[place].datatype == "BYTES"
    raw, found = response.raw_output_contents[place], []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        found.append(raw[4 : 4 + length].decode())
        raw = raw[4 + length :]
    return found


async def test_classification(running: Running) -> None:
    """
    The best classes come as value:index:label, best first, per image; other outputs as values.
    """
    request = infer_request(3, 6)
    request.outputs.add(name="logits").parameters["classification"].int64_param = 2
    request.outputs.add(name="probabilities")
    response = await running.inference.ModelInfer(request)
    assert list(response.outputs[0].shape) == [2, 2]
    assert texts(response) == [
        *("10.000000:3:class 3", "0.000000:0:class 0"),
        *("10.000000:1:class 1", "0.000000:0:class 0"),
    ]
    assert response.outputs[1].datatype == "FP32"
    request.outputs[0].parameters["classification"].uint64_param = 99
    response = await running.inference.ModelInfer(request)
    assert list(response.outputs[0].shape) == [2, 5]


@pytest.mark.parametrize(
    ("target", "name", "field", "value", "code", "message"),
    [
        ("output", "classification", "int64_param", 0, "INVALID_ARGUMENT", "at least 1"),
        ("output", "classification", "string_param", "3", "INVALID_ARGUMENT", "an integer"),
        (
            "output",
            "shared_memory_region",
            "string_param",
            "x",
            "UNIMPLEMENTED",
            "shared memory is not supported",
        ),
        (
            "input",
            "shared_memory_region",
            "string_param",
            "x",
            "UNIMPLEMENTED",
            "shared memory is not supported",
        ),
        ("request", "priority", "string_param", "1", "INVALID_ARGUMENT", "an integer"),
        ("request", "timeout", "int64_param", -1, "INVALID_ARGUMENT", "negative"),
        ("request", "timeout", "double_param", 1.0, "INVALID_ARGUMENT", "an integer"),
    ],
)
async def test_parameters_that_are_refused(
    running: Running, target: str, name: str, field: str, value: Any, code: str, message: str
) -> None:
    """
    A parameter of the wrong type or range is refused by its name.
    """
    request = infer_request(0)
    request.outputs.add(name="logits")
    owner: Any = {"input": request.inputs[0], "output": request.outputs[0], "request": request}
    setattr(owner[target].parameters[name], field, value)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await running.inference.ModelInfer(request)
    assert failed.value.code().name == code
    assert message in (failed.value.details() or "")


async def test_parameters_that_mean_nothing_here(running: Running) -> None:
    """
    Unknown parameters of any type, and unknown priorities, do not change the answer.
    """
    request = infer_request(0)
    request.parameters["sequence_id"].uint64_param = 0
    request.parameters["anything"].double_param = 0.5
    request.parameters["binary_data_output"].bool_param = True
    request.parameters["priority"].uint64_param = 77
    response = await running.inference.ModelInfer(request)
    plain = await running.inference.ModelInfer(infer_request(0))
    np.testing.assert_array_equal(logits(response), logits(plain))


@pytest.mark.parametrize("field", ["int64_param", "uint64_param"])
async def test_priority(running: Running, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A request of the first priority overtakes those that wait.
    """
    ran: list[int] = []  # answers may overtake each other on the wire
    runner = running.server.registry.get("tiny").session.runner
    run = runner.run

    def noted(items: Sequence[np.ndarray]) -> Any:
        ran.append(int(items[0][0, 0, 0, 0]))
        return run(items)

    monkeypatch.setattr(runner, "run", noted)

    async def ask(priority: int, first: int) -> None:
        request = infer_request(*[first] * 8)  # a batch of its own
        setattr(request.parameters["priority"], field, priority)
        await running.inference.ModelInfer(request)

    with running.device_held():
        calls = [asyncio.create_task(ask(2, 0))]
        await running.until_running(1)
        for place, priority in enumerate((3, 2, 1)):
            calls.append(asyncio.create_task(ask(priority, priority)))
            await running.until_waiting(8 * (place + 1))
    await asyncio.gather(*calls)
    assert ran == [0, 1, 2, 3]


async def test_timeout_in_the_queue(running: Running) -> None:
    """
    A request that names its longest wait fails when that is over, and not only when the device
    is free again.
    """
    with running.device_held():
        first = asyncio.ensure_future(running.inference.ModelInfer(infer_request(0)))
        await running.until_running(1)
        request = infer_request(1)
        request.parameters["timeout"].int64_param = 1
        waiting = asyncio.ensure_future(running.inference.ModelInfer(request))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await waiting
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert dict(failed.value.trailing_metadata() or ())["error-reason"] == "REQUEST_EXPIRED"
    await first


async def test_statistics(running: Running) -> None:
    """
    The counters are those of the requests that were sent, in images, batches and nanoseconds.
    """
    inference = running.inference
    for firsts in ([1], [1, 2, 3]):
        await inference.ModelInfer(infer_request(*firsts))
    with pytest.raises(grpc.aio.AioRpcError):
        await inference.ModelInfer(infer_request(tiny.POISON))
    answer = await inference.ModelStatistics(pb.ModelStatisticsRequest(name="tiny"))
    (stats,) = answer.model_stats
    assert (stats.name, stats.version) == ("tiny", "1")
    assert (stats.inference_count, stats.execution_count) == (4, 2)
    assert {batch.batch_size: batch.compute_infer.count for batch in stats.batch_stats} == {
        1: 1,
        3: 1,
    }
    told = stats.inference_stats
    assert (told.success.count, told.fail.count, told.queue.count) == (2, 1, 2)
    parts = (told.queue, told.compute_input, told.compute_infer, told.compute_output)
    assert 0 < sum(part.ns for part in parts) < told.success.ns
    assert stats.last_inference > 1.7e12
    assert [(usage.type, usage.byte_size) for usage in stats.memory_usage] == [("CPU", 5000)]
    everything = await inference.ModelStatistics(pb.ModelStatisticsRequest())
    assert len(everything.model_stats) == 1


async def test_statistics_count_decoding_as_input(running: Running) -> None:
    """
    Time spent on decoding images is time spent on the input.
    """
    request = pb.ModelInferRequest(model_name="tiny")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(png(3))
    await running.inference.ModelInfer(request)
    answer = await running.inference.ModelStatistics(pb.ModelStatisticsRequest(name="tiny"))
    (stats,) = answer.model_stats
    assert stats.inference_stats.compute_input.ns > stats.batch_stats[0].compute_input.ns


async def test_configuration(running: Running) -> None:
    """
    The configuration has the fields that Triton's clients read.
    """
    answer = await running.inference.ModelConfig(pb.ModelConfigRequest(name="tiny"))
    config = answer.config
    assert (config.name, config.max_batch_size, config.backend) == ("tiny", 8, "onnxruntime")
    (tensor,) = config.input
    assert (tensor.data_type, tensor.format) == (pb.TYPE_UINT8, pb.ModelInput.FORMAT_NHWC)
    assert list(tensor.dims) == [4, 4, 1]
    assert [(output.name, list(output.dims)) for output in config.output] == [
        ("logits", [5]),
        ("probabilities", [5]),
    ]
    assert config.dynamic_batching.priority_levels == 3
    assert config.version_policy.latest.num_versions == 1
    assert not config.model_transaction_policy.decoupled


async def test_log_settings(running: Running) -> None:
    """
    The level of the log is read and changed at run time; what is no setting is refused.
    """
    root = logging.getLogger()
    before = root.level
    try:
        root.setLevel(logging.INFO)
        asked = pb.LogSettingsRequest()
        answer = await running.inference.LogSettings(asked)
        assert answer.settings["log_info"].bool_param
        assert answer.settings["log_verbose_level"].uint32_param == 0
        asked.settings["log_info"].bool_param = False
        await running.inference.LogSettings(asked)
        assert root.level == logging.WARNING
        asked.settings["log_verbose_level"].uint32_param = 1
        await running.inference.LogSettings(asked)
        assert root.level == logging.DEBUG
        for name, level in (("log_info", logging.WARNING), ("log_error", logging.CRITICAL)):
            root.setLevel(logging.DEBUG)
            quieter = pb.LogSettingsRequest()
            quieter.settings[name].bool_param = False
            answer = await running.inference.LogSettings(quieter)
            assert root.level == level
            assert not answer.settings[name].bool_param
            assert answer.settings["log_verbose_level"].uint32_param == 0
        root.setLevel(logging.DEBUG)
        for name, field, value in (
            ("log_file", "string_param", "/x"),
            ("log_info", "string_param", "yes"),
        ):
            wrong = pb.LogSettingsRequest()
            setattr(wrong.settings[name], field, value)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await running.inference.LogSettings(wrong)
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert root.level == logging.DEBUG
    finally:
        root.setLevel(before)


@pytest.mark.parametrize(
    "rpc",
    [
        *("SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"),
        *("CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister"),
        "TraceSetting",
    ],
)
async def test_unsupported_rpcs(running: Running, rpc: str) -> None:
    """
    An rpc that this server does not support fails with its code and reason.
    """
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await getattr(running.inference, rpc)(getattr(pb, f"{rpc}Request")())
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert dict(failed.value.trailing_metadata() or ())["error-reason"] == "UNSUPPORTED"
