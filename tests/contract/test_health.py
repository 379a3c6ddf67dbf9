import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from convoy.service.rpc.health import MAX_LISTED
from convoy.service.security.tokens import Token
from tests.harness.calls import NOT_SERVING, SERVING, health, infer_request, outcome
from tests.harness.http import get
from tests.harness.server import Running, Serve

pytestmark = [pytest.mark.both_transports, pytest.mark.with_fronts]

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
REFLECTION_V1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

NAMES = [
    *("", "tiny"),
    *("convoy.v1.ClassifierService", "convoy.v1.ShadowService", "inference.GRPCInferenceService"),
]


@pytest.mark.parametrize("name", NAMES)
async def test_serving(running: Running, name: str) -> None:
    """
    The server, its services and every model are known by name.
    """
    assert await health(running.channel, name) == SERVING


async def test_unknown_name(running: Running) -> None:
    """
    A name that is none is NOT_FOUND.
    """
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await health(running.channel, "huge")
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND


async def test_loading_then_ready(serve: Serve) -> None:
    """
    Nothing is ready before the models are loaded; gRPC and HTTP agree; alive it is all along.
    """
    async with serve(load=False) as running:
        assert await health(running.channel, "") == NOT_SERVING
        status, body = await get(f"{running.url}/v2/health/ready")
        assert status == 503
        assert "MODEL_NOT_READY" in body
        assert (await get(f"{running.url}/v2/health/live"))[0] == 200
        await running.server.load()
        assert await health(running.channel, "") == SERVING
        assert (await get(f"{running.url}/v2/health/ready"))[0] == 200


async def test_watch_sees_the_end_and_is_ended(running: Running) -> None:
    """
    An open Watch learns at once that the server drains, and is ended with status OK.
    """
    stub = health_pb2_grpc.HealthStub(running.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="tiny"))
    assert (await watch.read()).status == SERVING
    await running.server.drain(0.0)
    assert (await watch.read()).status == NOT_SERVING
    assert (await get(f"{running.url}/v2/health/live"))[0] == 200
    assert (await get(f"{running.url}/v2/health/ready"))[0] == 503
    started = asyncio.get_running_loop().time()
    await running.server.rpc.stop()
    assert await watch.read() is grpc.aio.EOF
    assert await watch.code() is grpc.StatusCode.OK
    # Far below the grace, for which an open stream would otherwise hold the stop.
    assert asyncio.get_running_loop().time() - started < 0.45


async def test_reflection(running: Running) -> None:
    """
    A client without our .proto finds the services and their methods; its stream is ended, too.
    """
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    stream = stub.ServerReflectionInfo()
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = (await stream.read()).list_services_response.service
    assert {"convoy.v1.ClassifierService", "inference.GRPCInferenceService"} <= {
        service.name for service in listed
    }
    await stream.write(
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="convoy.v1.ClassifierService")
    )
    described = (await stream.read()).file_descriptor_response.file_descriptor_proto
    file = FileDescriptorProto.FromString(described[0])
    assert [method.name for method in file.service[0].method] == [
        "Classify",
        "ClassifyBatch",
        "ListModels",
    ]
    await running.server.rpc.stop()
    assert await stream.read() is grpc.aio.EOF


async def test_reflection_stream_that_the_client_ends(running: Running) -> None:
    """
    A client that is done ends its stream itself.
    """
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    stream = stub.ServerReflectionInfo()
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    await stream.read()
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_list(running: Running) -> None:
    """
    `List` has the status of the server, of its services and of every model.
    """
    stub = health_pb2_grpc.HealthStub(running.channel)
    listed = await stub.List(health_pb2.HealthListRequest())
    assert {name: one.status for name, one in listed.statuses.items()} == dict.fromkeys(
        NAMES, SERVING
    )
    await running.server.rpc.set_model_ready("tiny", False)
    listed = await stub.List(health_pb2.HealthListRequest())
    assert listed.statuses["tiny"].status == NOT_SERVING


async def test_list_is_bounded(running: Running) -> None:
    """
    More names than fit into an answer are RESOURCE_EXHAUSTED, and each can still be asked for.
    """
    for number in range(MAX_LISTED):
        await running.server.rpc.set_model_ready(f"model {number}", True)
    stub = health_pb2_grpc.HealthStub(running.channel)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.List(health_pb2.HealthListRequest())
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await health(running.channel, "model 7") == SERVING


async def test_unloaded_model_is_unknown_to_strangers(serve: Serve, tmp_path: Path) -> None:
    """
    A client without a token cannot tell a model that does not serve from one that does not exist.
    """
    token, text = Token.make("any", ["infer"])
    file = tmp_path / "tokens"
    file.write_text(token.line)
    status = health_pb2.HealthCheckResponse
    async with serve(token_file=str(file)) as running:
        stub = health_pb2_grpc.HealthStub(running.channel)
        request = health_pb2.HealthCheckRequest(service="tiny")
        known = (("authorization", f"Bearer {text}"),)
        watches = [stub.Watch(request), stub.Watch(request, metadata=known)]
        assert [(await watch.read()).status for watch in watches] == [SERVING, SERVING]
        await running.server.rpc.set_model_ready("tiny", False)
        assert [(await watch.read()).status for watch in watches] == [
            status.SERVICE_UNKNOWN,
            NOT_SERVING,
        ]
        assert (await stub.Check(request, metadata=known)).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Check(request)
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
        await running.server.rpc.set_ready(False)
        assert await health(running.channel, "") == NOT_SERVING


async def test_unreadable_message(running: Running) -> None:
    """
    A message that cannot be parsed is the client's error, for health and reflection as elsewhere.
    """
    for path in ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", REFLECTION):
        call: Any = running.channel.stream_stream(path)
        assert await outcome(call(iter([b"\xff" * 8])).read()) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_ARGUMENT",
        )


async def test_reflection_v1(running: Running) -> None:
    """
    Reflection answers under the name v1, too, lists it, and describes it by its own names.
    """
    name = "grpc.reflection.v1.ServerReflection"
    call: Any = running.channel.stream_stream(
        REFLECTION_V1,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=name),
    ]
    listed, described = [answer async for answer in call(iter(asked))]
    assert name in {service.name for service in listed.list_services_response.service}
    (file,) = described.file_descriptor_response.file_descriptor_proto
    found = descriptor_pb2.FileDescriptorProto.FromString(file)
    assert found.package == "grpc.reflection.v1"
    (method,) = found.service[0].method
    assert method.input_type == ".grpc.reflection.v1.ServerReflectionRequest"


async def test_open_streams_are_limited(running: Running) -> None:
    """
    Strangers may keep only so many streams open; others get through again when some of them end.
    """
    running.server.rpc._streams.max_open = 3
    watch: Any = health_pb2_grpc.HealthStub(running.channel).Watch
    request = health_pb2.HealthCheckRequest()
    opened = [watch(request) for _ in range(3)]
    for stream in opened:
        assert (await stream.read()).status == SERVING
    refused = (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY")
    assert await outcome(watch(request).read()) == refused
    conversation: Any = running.channel.stream_stream(REFLECTION)
    assert await outcome(conversation(iter([b""])).read()) == refused
    # The streams of our own service have limits of their own.
    inference = running.inference.ModelStreamInfer(infer_request(1) for _ in range(2))
    assert len([answer async for answer in inference]) == 2
    opened[0].cancel()
    await running.until(lambda: running.server.rpc._streams._open == 2)
    again = watch(request)
    assert (await again.read()).status == SERVING
