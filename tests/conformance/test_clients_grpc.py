"""tritonclient: what only NVIDIA's gRPC client has."""

from __future__ import annotations

import queue
from typing import Any

import pytest
from tritonclient import grpc

from tests.conformance.clients import inputs, outputs
from tests.conformance.target import NOWHERE, TIMEOUT_S, Target, code_of, refused
from tests.conformance.tensors import assert_same


def test_async(target: Target) -> None:
    """The gRPC client's async_infer: a callback for each request, with its result or its error."""
    found: queue.Queue[Any] = queue.Queue()
    with grpc.InferenceServerClient(target.grpc_address) as client:
        for name in (target.model, NOWHERE):
            client.async_infer(
                name,
                inputs(grpc, target.tensors()),
                lambda result, error: found.put((result, error)),
                client_timeout=TIMEOUT_S,
            )
        answers = [found.get(timeout=TIMEOUT_S) for _ in range(2)]
        call = client.async_infer(target.model, inputs(grpc, target.tensors()), _ignore)
        call.cancel()
    (result,) = [result for result, _ in answers if result]
    assert_same(outputs(target, result), target.infer())
    (error,) = [error for _, error in answers if error]
    assert code_of(error) == "NOT_FOUND"


def _ignore(result: Any, error: Any) -> None:
    pass


def test_deadline(target: Target) -> None:
    """The gRPC client's client_timeout."""
    with (
        grpc.InferenceServerClient(target.grpc_address) as client,
        refused("DEADLINE_EXCEEDED"),
    ):
        client.infer(target.model, inputs(grpc, target.tensors()), client_timeout=-1)


def next_answer(found: queue.Queue[Any]) -> Any:
    """Return the callback's next answer; raise UNIMPLEMENTED, so that the test is skipped."""
    result, error = found.get(timeout=TIMEOUT_S)
    if error is not None and code_of(error) == "UNIMPLEMENTED":
        raise error
    return result, error


@pytest.mark.optional("ModelStreamInfer")
def test_stream(target: Target) -> None:
    """The gRPC client's start_stream, async_stream_infer and stop_stream."""
    found: queue.Queue[Any] = queue.Queue()
    with grpc.InferenceServerClient(target.grpc_address) as client:
        client.start_stream(lambda result, error: found.put((result, error)))
        for seed in range(6):
            given = inputs(grpc, target.tensors(seed=seed))
            client.async_stream_infer(
                target.model, given, request_id=str(seed), enable_empty_final_response=True
            )
        client.async_stream_infer(NOWHERE, given, request_id="bad")
        answers = [next_answer(found) for _ in range(7)]
        client.stop_stream()
    for seed, (result, error) in enumerate(answers[:-1]):
        assert error is None
        assert result.get_response().id == str(seed)
        assert_same(outputs(target, result), target.infer(seed=seed))
    assert answers[-1][0] is None
    assert answers[-1][1].message()


@pytest.mark.optional("ModelStreamInfer")
def test_stream_error_as_status(target: Target) -> None:
    """start_stream with `triton_grpc_error`: the callback gets the status, the stream is over."""
    found: queue.Queue[Any] = queue.Queue()
    with grpc.InferenceServerClient(target.grpc_address) as client:
        client.start_stream(
            lambda result, error: found.put((result, error)), headers={"triton_grpc_error": "true"}
        )
        client.async_stream_infer(NOWHERE, inputs(grpc, target.tensors()))
        result, error = next_answer(found)
        client.stop_stream(cancel_requests=True)
    assert result is None
    assert code_of(error) == "NOT_FOUND"
