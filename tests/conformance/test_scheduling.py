"""Scheduling: priorities, timeouts and deadlines of requests that wait for a slow model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance.target import TIMEOUT_S, Target, code_of, refused

scheduled = pytest.mark.extension("schedule_policy")

WAITING = 16
"""Requests sent at once: most of them wait while the first ones run."""

URGENT = 1
"""The highest priority (schedule_policy)."""


@pytest.fixture
def slow(target: Target, pytestconfig: pytest.Config) -> Iterator[Target]:
    """The slow model."""
    if not (name := pytestconfig.getoption("--slow")):
        pytest.skip("no slow model is given")
    slow = Target(target.grpc_address, target.http_address, name)
    with slow.channel:
        yield slow


def policy(slow: Target) -> Any:
    """Return how the model's requests wait, by its configuration."""
    return slow.ask("ModelConfig", name=slow.model).config.dynamic_batching


def request(slow: Target, **parameters: int) -> pb.ModelInferRequest:
    """Return a request of zeros with these parameters."""
    made = slow.request()
    made.raw_input_contents[:] = [bytes(len(raw)) for raw in made.raw_input_contents]
    for name, value in parameters.items():
        made.parameters[name].int64_param = value
    return made


def send_all(slow: Target, timeout: float = TIMEOUT_S, **parameters: int) -> list[Any]:
    """Send `WAITING` requests at once and return their futures."""
    made = request(slow, **parameters)
    return [slow.stub.ModelInfer.future(made, timeout=timeout) for _ in range(WAITING)]


def answered(slow: Target) -> int:
    """Return how many requests the model has answered, by its statistics."""
    (found,) = slow.ask("ModelStatistics", name=slow.model).model_stats
    return int(found.inference_stats.success.count)


@scheduled
def test_urgent_request_overtakes(slow: Target) -> None:
    """A request of the highest priority runs before those of the lowest (schedule_policy)."""
    levels = policy(slow).priority_levels
    if levels < 2:
        pytest.skip("the slow model has no levels of priority")
    waiting = send_all(slow, priority=levels)
    waiting[0].result()  # the others have arrived, too
    slow.call("ModelInfer", request(slow, priority=URGENT))
    assert sum(not one.done() for one in waiting) >= WAITING // 2
    for one in waiting:
        one.result()


@scheduled
def test_timeout_in_the_queue(slow: Target) -> None:
    """A request whose timeout passes while it waits is refused, the others are not (Triton)."""
    if not policy(slow).default_queue_policy.allow_timeout_override:
        pytest.skip("the slow model takes no timeouts")
    waiting = send_all(slow)
    waiting[0].result()
    # Triton refuses with UNAVAILABLE; a server may also refuse at once what it cannot do in time.
    with refused("DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        slow.call("ModelInfer", request(slow, timeout=1000))
    for one in waiting:
        one.result()


@pytest.mark.extension("statistics")
def test_expired_requests_do_not_run(slow: Target) -> None:
    """A request whose deadline passes while it waits is not run (gRPC: stop what nobody awaits)."""
    alone_s = min(seconds(slow) for _ in range(3))
    before = answered(slow)
    for one in send_all(slow, timeout=2 * alone_s):
        if (error := one.exception()) is not None:
            assert code_of(error) in {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    slow.call("ModelInfer", request(slow))  # ends after what still runs of them
    assert answered(slow) - before - 1 <= WAITING // 2


def seconds(slow: Target) -> float:
    """Send one request and return how long its answer took."""
    started = time.perf_counter()
    slow.call("ModelInfer", request(slow))
    return time.perf_counter() - started
