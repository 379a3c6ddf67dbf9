"""A stranger learns of a model only whether it is ready: not which names and versions there are."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.rpc.server import SERVICE_NAMES
from tests.security.target import Credential, Target

READY = "/inference.GRPCInferenceService/ModelReady"

STRANGERS: list[Credential] = ["nothing", "unknown"]

NOWHERE = [
    ("tiny", "9"),
    ("tiny", "x"),
    ("no-such-model", ""),
    ("", ""),
    ("..", ""),
    ("x" * 99, "1"),
]
"""Names and versions that no server has; the model of the first two exists in ours."""


def ready(target: Target, name: str, version: str, credential: Credential) -> object:
    """Return what `ModelReady` answers, with every word of it."""
    with grpc.insecure_channel(target.grpc) as channel:
        call: Any = channel.unary_unary(
            READY, response_deserializer=pb.ModelReadyResponse.FromString
        )
        message = pb.ModelReadyRequest(name=name, version=version).SerializeToString()
        metadata = target.metadata(credential)
        try:
            answer, ended = call.with_call(message, metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            return error.code().name
        trailers = [name for name, _ in ended.trailing_metadata()]
        return answer.ready, trailers


@pytest.mark.parametrize("credential", STRANGERS)
def test_rpc(target: Target, credential: Credential) -> None:
    """Over gRPC, an unknown name or version is not ready, like a known one that is not."""
    for name, version in NOWHERE:
        assert ready(target, name, version, credential) == (False, ["x-request-id"])


@pytest.mark.parametrize("credential", STRANGERS)
async def test_route(target: Target, credential: Credential) -> None:
    """Over HTTP, every name and version that is not ready has the same answer."""
    for name, version in NOWHERE:
        if name in ("", ".."):  # another route, or none
            continue
        path = f"/v2/models/{name}{f'/versions/{version}' if version else ''}/ready"
        answer = await target.ask("GET", path, headers=target.headers(credential))
        assert answer.status == 503
        # What was asked for, and nothing that the server knows.
        asked = f"model {name[:64]!r}" + (f" version {version[:20]}" if version else "")
        assert answer.json() == {
            "error": f"{asked} is not ready",
            "reason": "MODEL_NOT_READY",
            "status": "UNAVAILABLE",
        }


@pytest.mark.parametrize("credential", STRANGERS)
def test_health(target: Target, credential: Credential) -> None:
    """Health's `Check` and `Watch` answer for an unknown name as gRPC demands."""
    with grpc.insecure_channel(target.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="no-such-model")
        metadata = target.metadata(credential)
        with pytest.raises(grpc.RpcError) as failed:
            stub.Check(request, metadata=metadata, timeout=20)
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(request, metadata=metadata, timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


def test_list(target: Target) -> None:
    """Health's `List` states the status of everything, to a client with a token."""
    with grpc.insecure_channel(target.grpc) as channel:
        for right in target.tokens:
            metadata = target.metadata(right)
            stub = health_pb2_grpc.HealthStub(channel)
            listed = stub.List(health_pb2.HealthListRequest(), metadata=metadata, timeout=20)
            statuses = {name: one.status for name, one in listed.statuses.items()}
            assert {"", *SERVICE_NAMES} <= set(statuses)
            if target.process:
                assert statuses["tiny"] == health_pb2.HealthCheckResponse.SERVING
