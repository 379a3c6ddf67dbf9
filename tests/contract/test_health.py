import asyncio

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.harness.calls import NOT_SERVING, SERVING, health
from tests.harness.http import get
from tests.harness.server import Running, Serve

pytestmark = pytest.mark.both_transports

NAMES = ["", "tiny", "convoy.v1.ClassifierService", "inference.GRPCInferenceService"]


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
