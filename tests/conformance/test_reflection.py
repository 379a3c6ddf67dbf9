"""Reflection: a client without the protocol's file calls the server, as grpcurl does."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.conformance.target import TIMEOUT_S, Target

pytestmark = pytest.mark.optional("grpc.reflection.v1alpha.ServerReflection")

SERVICE = "inference.GRPCInferenceService"

CORE = {"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"}


@pytest.fixture
def pool(target: Target) -> descriptor_pool.DescriptorPool:
    """A pool of the server's descriptors."""
    return descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(target.channel))


def called(target: Target, pool: Any, rpc: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Call an rpc by its description alone, with JSON in and out."""
    method = pool.FindServiceByName(SERVICE).methods_by_name[rpc]
    request = message_factory.GetMessageClass(method.input_type)()
    json_format.ParseDict(fields, request)
    call: Any = target.channel.unary_unary(
        f"/{SERVICE}/{rpc}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    answer: dict[str, Any] = json_format.MessageToDict(
        call(request, timeout=TIMEOUT_S), preserving_proto_field_name=True
    )
    return answer


def test_services_are_listed(target: Target) -> None:
    """The protocol's service is among those that are listed (server reflection)."""
    services = ProtoReflectionDescriptorDatabase(target.channel).get_services()
    assert SERVICE in services
    assert len(set(services)) == len(services)


def test_core_is_described(pool: Any) -> None:
    """The descriptor has the six rpcs of the core."""
    assert set(pool.FindServiceByName(SERVICE).methods_by_name) >= CORE


def test_server_metadata(target: Target, pool: Any) -> None:
    """A call made of descriptors alone is answered."""
    assert called(target, pool, "ServerMetadata", {})["name"] == target.server.name


def test_infer(target: Target, pool: Any) -> None:
    """An inference is a call by reflection too, with tensors in base64 as JSON has bytes."""
    fields = json_format.MessageToDict(target.request(id="7"), preserving_proto_field_name=True)
    answer = called(target, pool, "ModelInfer", fields)
    assert answer["model_name"] == target.model
    assert answer["id"] == "7"
    assert len(answer["raw_output_contents"]) == len(target.outputs)


@pytest.mark.parametrize("kind", ["file_containing_symbol", "file_by_filename"])
def test_unknown_symbol(target: Target, kind: str) -> None:
    """An unknown symbol gives NOT_FOUND in its answer, and the stream goes on."""
    stub = reflection_pb2_grpc.ServerReflectionStub(target.channel)
    request = reflection_pb2.ServerReflectionRequest
    requests = [request(**{kind: "no.such"}), request(list_services="")]
    answers = list(stub.ServerReflectionInfo(iter(requests), timeout=TIMEOUT_S))
    assert answers[0].error_response.error_code == 5  # NOT_FOUND
    assert answers[1].list_services_response.service
