"""tritonclient: what only NVIDIA's HTTP client has."""

from __future__ import annotations

from contextlib import closing

import pytest
from tritonclient import http

from tests.conformance.clients import inputs, outputs
from tests.conformance.rest import LENGTH_HEADER, exchange
from tests.conformance.target import TIMEOUT_S, Target
from tests.conformance.tensors import assert_same

pytestmark = pytest.mark.rest

BINARY = pytest.mark.extension("binary_tensor_data")


@BINARY
@pytest.mark.parametrize("in_binary", [False, True])
@pytest.mark.parametrize("out_binary", [False, True])
def test_binary(target: Target, in_binary: bool, out_binary: bool) -> None:
    """The HTTP client with each mixture of JSON and binary tensors."""
    with http.InferenceServerClient(target.http_address) as client:
        result = client.infer(
            target.model,
            inputs(http, target.tensors(2), binary_data=in_binary),
            outputs=[
                http.InferRequestedOutput(spec.name, binary_data=out_binary)
                for spec in target.outputs
            ],
        )
    assert_same(outputs(target, result), target.infer(2))
    assert ("data" in result.get_output(target.outputs[0].name)) is not out_binary


def test_async(target: Target) -> None:
    """The HTTP client's async_infer: several requests over several connections."""
    with http.InferenceServerClient(target.http_address, concurrency=4) as client:
        pending = [
            client.async_infer(target.model, inputs(http, target.tensors(seed=seed)))
            for seed in range(8)
        ]
        for seed, one in enumerate(pending):
            result = one.get_result(timeout=TIMEOUT_S)
            assert_same(outputs(target, result), target.infer(seed=seed))


@BINARY
def test_bodies(target: Target) -> None:
    """generate_request_body and parse_response_body, over a connection of one's own."""
    kind = http.InferenceServerClient
    body, length = kind.generate_request_body(inputs(http, target.tensors(2)))
    headers = {LENGTH_HEADER: str(length)}
    with closing(target.rest.connection()) as connection:
        answer = exchange(connection, "POST", target.path("/infer"), body, headers)
    length = int(answer.headers[LENGTH_HEADER.lower()])
    result = kind.parse_response_body(answer.body, header_length=length)
    assert_same(outputs(target, result), target.infer(2))
