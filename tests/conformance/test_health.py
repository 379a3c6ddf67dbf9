"""Health: gRPC's own health service, for balancers and Kubernetes (grpc.health.v1)."""

from __future__ import annotations

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.conformance.target import NOWHERE, TIMEOUT_S, Target, refused

pytestmark = pytest.mark.optional("grpc.health.v1.Health")

SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def stub(target: Target) -> health_pb2_grpc.HealthStub:
    """The service's stub."""
    return health_pb2_grpc.HealthStub(target.channel)


def asked(target: Target, which: str) -> health_pb2.HealthCheckRequest:
    """A request for the server, its service, or its model."""
    services = {"": "", "service": "inference.GRPCInferenceService", "model": target.model}
    return health_pb2.HealthCheckRequest(service=services[which])


@pytest.mark.parametrize("which", ["", "service", "model"])
def test_check(target: Target, stub: health_pb2_grpc.HealthStub, which: str) -> None:
    """A server that is ready is SERVING, and so are its service and its model."""
    assert stub.Check(asked(target, which), timeout=TIMEOUT_S).status == SERVING


def test_unknown_service(stub: health_pb2_grpc.HealthStub) -> None:
    """Check of a service that the server does not know is NOT_FOUND (health.proto)."""
    with refused("NOT_FOUND", message=False):
        stub.Check(health_pb2.HealthCheckRequest(service=NOWHERE), timeout=TIMEOUT_S)


@pytest.mark.parametrize("which", ["", "model"])
def test_watch(target: Target, stub: health_pb2_grpc.HealthStub, which: str) -> None:
    """Watch sends the present status at once and then stays open (health.proto)."""
    statuses = stub.Watch(asked(target, which), timeout=TIMEOUT_S)
    assert next(statuses).status == SERVING
    assert statuses.is_active()
    statuses.cancel()


def test_watch_of_an_unknown_service(stub: health_pb2_grpc.HealthStub) -> None:
    """Watch of a service that the server does not know is SERVICE_UNKNOWN (health.proto)."""
    request = health_pb2.HealthCheckRequest(service=NOWHERE)
    statuses = stub.Watch(request, timeout=TIMEOUT_S)
    assert next(statuses).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    statuses.cancel()
