"""Streaming: many requests and their answers on one call (Triton's ModelStreamInfer)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance.target import NOWHERE, TIMEOUT_S, Target, refused
from tests.conformance.tensors import arrays, assert_same

pytestmark = pytest.mark.optional("ModelStreamInfer")

MANY = 400


def stream(target: Target, requests: Iterable[Any], **metadata: str) -> Any:
    """Open a stream; gives its answers as they come."""
    return target.stub.ModelStreamInfer(
        iter(requests), timeout=TIMEOUT_S, metadata=tuple(metadata.items())
    )


def numbered(target: Target, count: int) -> list[Any]:
    """Return different requests of several batch sizes, with their numbers as identifiers."""
    sizes = (1, 2) if target.max_batch_size > 1 else (1,)
    return [
        target.request(sizes[index % len(sizes)], seed=index, id=str(index))
        for index in range(count)
    ]


def wrong(identifier: str) -> Any:
    """A request that fails."""
    return pb.ModelInferRequest(model_name=NOWHERE, id=identifier)


def test_answers_in_order(target: Target) -> None:
    """Answers come in the order of their requests, each with its identifier and its tensors."""
    answers = list(stream(target, numbered(target, 20)))
    assert [answer.infer_response.id for answer in answers] == [str(index) for index in range(20)]
    for answer, request in zip(answers, numbered(target, 20), strict=True):
        assert not answer.error_message
        assert_same(arrays(answer.infer_response), arrays(target.call("ModelInfer", request)))


def test_one_by_one(target: Target) -> None:
    """Each answer comes without waiting for the next request: a stream is a conversation."""
    answered = threading.Semaphore()

    def requests() -> Iterator[Any]:
        for request in numbered(target, 5):
            assert answered.acquire(timeout=TIMEOUT_S)
            yield request

    count = 0
    for _ in stream(target, requests()):
        count += 1
        answered.release()
    assert count == 5


def test_many(target: Target) -> None:
    """Hundreds of requests at once are all answered, in order, and none is refused."""
    request = target.request()
    requests = []
    for index in range(MANY):
        numbered = pb.ModelInferRequest()
        numbered.CopyFrom(request)
        numbered.id = str(index)
        requests.append(numbered)
    answers = list(stream(target, requests))
    assert not {answer.error_message for answer in answers} - {""}
    assert [answer.infer_response.id for answer in answers] == [str(i) for i in range(MANY)]


def test_error_is_in_band(target: Target) -> None:
    """A request that fails has an answer with `error_message` and its id; others go on."""
    good = numbered(target, 4)
    answers = list(stream(target, [good[0], wrong("bad"), good[1], wrong("worse"), good[2]]))
    assert [bool(answer.error_message) for answer in answers] == [False, True, False, True, False]
    assert [answer.infer_response.id for answer in answers] == ["0", "bad", "1", "worse", "2"]
    assert not answers[1].infer_response.outputs


def test_error_as_status(target: Target) -> None:
    """With `triton_grpc_error: true` a failure ends the stream with its status (Triton)."""
    answers = stream(target, [*numbered(target, 1), wrong("bad")], triton_grpc_error="true")
    assert next(answers).infer_response.id == "0"
    with refused("NOT_FOUND"):
        next(answers)


def test_final_response(target: Target) -> None:
    """Each answer of a model with one answer per request is the final one (Triton)."""
    request = target.request()
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    answers = list(stream(target, [request, request]))
    assert len(answers) == 2
    for answer in answers:
        assert answer.infer_response.parameters["triton_final_response"].bool_param


def test_no_request(target: Target) -> None:
    """A stream that closes without a request ends well, with no answer."""
    assert list(stream(target, [])) == []


def test_streams_do_not_mix(target: Target) -> None:
    """Streams at the same time get their own answers."""

    def identifiers(name: str) -> list[str]:
        requests = numbered(target, 30)
        for index, request in enumerate(requests):
            request.id = f"{name} {index}"
        return [answer.infer_response.id for answer in stream(target, requests)]

    names = [f"stream {number}" for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        for name, found in zip(names, threads.map(identifiers, names), strict=True):
            assert found == [f"{name} {index}" for index in range(30)]


def test_cancel(target: Target) -> None:
    """A client may cancel a stream that would never end; the server serves the others."""
    answers = stream(target, repeat(target.request()))
    next(answers)
    answers.cancel()
    with refused("CANCELLED"):
        for _ in answers:
            pass
    target.assert_serves()


def test_deadline(target: Target) -> None:
    """A stream that outlives its deadline ends with DEADLINE_EXCEEDED (gRPC)."""
    silence = threading.Event()

    def requests() -> Iterator[Any]:
        yield target.request()
        silence.wait(TIMEOUT_S)

    answers = target.stub.ModelStreamInfer(requests(), timeout=1)
    try:
        next(answers)
        with refused("DEADLINE_EXCEEDED"):
            next(answers)
    finally:
        silence.set()
