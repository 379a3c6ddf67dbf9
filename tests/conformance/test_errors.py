"""Error codes: one situation, one status, over either transport."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance.target import (
    NOWHERE,
    TIMEOUT_S,
    UNLIMITED,
    Target,
    outcome,
    refused,
)
from tests.conformance.tensors import arrays, assert_same

CONFIG = pytest.param("ModelConfig", marks=pytest.mark.extension("model_configuration"))
STATISTICS = pytest.param("ModelStatistics", marks=pytest.mark.extension("statistics"))
RPCS = ["ModelMetadata", "ModelInfer", CONFIG, STATISTICS]

CONFIG_ROUTE = pytest.param("/config", marks=pytest.mark.extension("model_configuration"))
STATISTICS_ROUTE = pytest.param("/stats", marks=pytest.mark.extension("statistics"))
ROUTES = ["", "/infer", CONFIG_ROUTE, STATISTICS_ROUTE]

NO_VERSIONS = ["999999", "0", "-1", "1.0", "x", " ", "1" * 400]

INFER = "/inference.GRPCInferenceService/ModelInfer"

TIMEOUTS_S = [0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01]
"""Some of them pass while the request is on its way, waits, or runs."""

LARGE_BYTES = 65 * 1024 * 1024


def ask(target: Target, rpc: str, name: str, version: str = "") -> Any:
    """Call an rpc about some model."""
    if rpc == "ModelInfer":
        request = target.request(model_version=version)
        request.model_name = name
        return target.call(rpc, request)
    return target.ask(rpc, name=name, version=version)


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("name", [NOWHERE, "..", "x" * 1000])
def test_unknown_model(target: Target, rpc: str, name: str) -> None:
    """A model that the server does not have is NOT_FOUND (Triton, KServe, MLServer, OVMS)."""
    with refused("NOT_FOUND"):
        ask(target, rpc, name)


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("version", NO_VERSIONS)
def test_unknown_version(target: Target, rpc: str, version: str) -> None:
    """An unknown version is NOT_FOUND; one that is no number may be INVALID_ARGUMENT (Triton)."""
    with refused(*(["NOT_FOUND"] if version == "999999" else ["NOT_FOUND", "INVALID_ARGUMENT"])):
        ask(target, rpc, target.model, version)


@pytest.mark.parametrize("rpc", ["ModelMetadata", "ModelInfer", CONFIG])
def test_no_name(target: Target, rpc: str) -> None:
    """A request that names no model is the client's error."""
    with refused("NOT_FOUND", "INVALID_ARGUMENT"):
        ask(target, rpc, "")


@pytest.mark.parametrize(("name", "version"), [(NOWHERE, ""), ("", "999999")])
def test_unknown_is_not_ready(target: Target, name: str, version: str) -> None:
    """A model that does not exist is not ready: false (Triton), or NOT_FOUND (KServe)."""
    assert not target.ready(name, version)


@pytest.mark.rest
@pytest.mark.parametrize("end", ROUTES)
@pytest.mark.parametrize("version", ["", "999999"])
def test_unknown_over_http(target: Target, end: str, version: str) -> None:
    """An unknown model, or an unknown version of one, is 404, with a message."""
    name = target.model if version else NOWHERE
    path = f"/v2/models/{name}{f'/versions/{version}' if version else ''}{end}"
    body = target.body() if end == "/infer" else None
    answer = target.rest.post(path, body) if body else target.rest.get(path)
    assert answer.status == 404
    assert answer.json["error"]


@pytest.mark.rest
@pytest.mark.parametrize("version", ["", "999999"])
def test_unknown_is_not_ready_over_http(target: Target, version: str) -> None:
    """A model that does not exist is not ready: any status but 200 (OIP REST)."""
    name = target.model if version else NOWHERE
    path = f"/v2/models/{name}{f'/versions/{version}' if version else ''}/ready"
    assert target.rest.get(path).status in {400, 404, 503}


def test_deadline(target: Target) -> None:
    """A deadline that passes is DEADLINE_EXCEEDED, and affects no other call (gRPC).

    A server may also refuse at once what it cannot answer in time.
    """
    request = target.request(target.max_batch_size)
    with refused("DEADLINE_EXCEEDED"):
        target.call("ModelInfer", request, timeout=-1)
    for timeout in TIMEOUTS_S:
        code = outcome(lambda: target.call("ModelInfer", request, timeout=timeout))  # noqa: B023
        assert code in {"OK", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}, timeout
    target.assert_serves()


def test_cancelled(target: Target) -> None:
    """A client that cancels its call disturbs no request of the same batch (gRPC)."""
    requests = [target.request(seed=seed) for seed in range(16)]
    futures = [target.stub.ModelInfer.future(one, timeout=TIMEOUT_S) for one in requests]
    for future in futures[::2]:
        future.cancel()
    for future, request in zip(futures[1::2], requests[1::2], strict=True):
        assert_same(arrays(future.result()), arrays(target.call("ModelInfer", request)))


def test_many_at_once(target: Target) -> None:
    """Requests at the same time get their own answers, also if others fail beside them."""

    def answer(seed: int) -> Any:
        request = target.request(seed=seed)
        if seed % 4:
            return arrays(target.call("ModelInfer", request))
        request.raw_input_contents[0] = b""
        with refused("INVALID_ARGUMENT"):
            target.call("ModelInfer", request)
        return None

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(answer, range(64)))
    for seed in range(1, 64, 9):
        if seed % 4:
            assert_same(answers[seed], target.infer(seed=seed))


@pytest.mark.parametrize(
    "path", ["/inference.GRPCInferenceService/NoSuchRpc", "/no.such.Service/Rpc", "/nothing"]
)
def test_unknown_rpc(target: Target, path: str) -> None:
    """An rpc that does not exist is UNIMPLEMENTED (gRPC)."""
    call: Any = target.channel.unary_unary(path)
    with refused("UNIMPLEMENTED"):
        call(b"", timeout=TIMEOUT_S)


def test_bytes_that_are_no_message(target: Target) -> None:
    """Bytes that are no message are the client's error, or INTERNAL as gRPC's C++ says."""
    call: Any = target.channel.unary_unary(INFER)
    with refused("INVALID_ARGUMENT", "INTERNAL"):
        call(b"\xff" * 32, timeout=TIMEOUT_S)
    target.assert_serves()


@pytest.fixture
def own_channel(target: Target) -> Iterator[grpc.Channel]:
    """A connection of its own: a server may close one that sends too much."""
    options = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target.grpc_address, options) as channel:
        yield channel


def test_message_too_large(target: Target, own_channel: grpc.Channel) -> None:
    """A message over the server's limit is RESOURCE_EXHAUSTED (gRPC)."""
    request = pb.ModelInferRequest(model_name=target.model, raw_input_contents=[bytes(LARGE_BYTES)])
    call: Any = own_channel.unary_unary(INFER)
    code = outcome(lambda: call(request.SerializeToString(), timeout=TIMEOUT_S))
    target.assert_serves()
    if code == "INVALID_ARGUMENT":
        pytest.skip(f"the server takes messages of {LARGE_BYTES} bytes")
    assert code == "RESOURCE_EXHAUSTED"
