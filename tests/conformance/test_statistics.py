"""Statistics: counts that grow by exactly what was sent (Triton's extension statistics)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance.target import NOWHERE, TIMEOUT_S, Target

pytestmark = pytest.mark.extension("statistics")

SIZES = (1, 2, 1)
PHASES = ("queue", "compute_input", "compute_infer", "compute_output")


def statistics(target: Target, **which: str) -> Any:
    """Statistics of the one version of the model that answers."""
    answer = target.ask("ModelStatistics", name=target.model, **which)
    (found,) = [one for one in answer.model_stats if one.version == target.version]
    return found


def sizes(target: Target) -> tuple[int, ...]:
    """Batches to send, one after the other."""
    return SIZES if target.max_batch_size > 1 else (1, 1, 1)


def send_unary(target: Target) -> None:
    """Send them over gRPC."""
    for size in sizes(target):
        target.infer(size)


def send_stream(target: Target) -> None:
    """Send them on streams: on one they might share a batch."""
    for size in sizes(target):
        assert list(target.stub.ModelStreamInfer(iter([target.request(size)]), timeout=TIMEOUT_S))


def send_http(target: Target) -> None:
    """Send them over HTTP."""
    for size in sizes(target):
        assert target.rest.post(target.path("/infer"), target.body(size)).status == 200


@pytest.mark.parametrize(
    "send",
    [
        send_unary,
        pytest.param(send_stream, marks=pytest.mark.optional("ModelStreamInfer")),
        pytest.param(send_http, marks=pytest.mark.rest),
    ],
)
def test_counts(target: Target, send: Callable[[Target], None]) -> None:
    """Requests, rows and batches are counted, whichever way they came."""
    before = statistics(target)
    send(target)
    after = statistics(target)
    sent = sizes(target)
    assert after.inference_count - before.inference_count == sum(sent)
    assert after.execution_count - before.execution_count == len(sent)
    for name in ("success", *PHASES):
        grown = getattr(after.inference_stats, name).count
        assert grown - getattr(before.inference_stats, name).count == len(sent), name
    assert after.inference_stats.fail.count == before.inference_stats.fail.count


def test_batches_by_size(target: Target) -> None:
    """Batches are counted by their size, each with its phases (batch_stats)."""
    before = {one.batch_size: one for one in statistics(target).batch_stats}
    send_unary(target)
    after = {one.batch_size: one for one in statistics(target).batch_stats}
    for size in set(sizes(target)):
        sent = sizes(target).count(size)
        for phase in PHASES[1:]:
            counted = getattr(after[size], phase).count
            told = getattr(before[size], phase).count if size in before else 0
            assert counted - told == sent, (size, phase)
        assert after[size].compute_infer.ns > 0


def test_durations(target: Target) -> None:
    """Time passes in each phase, and the phases are parts of the whole (nanoseconds)."""
    before = statistics(target).inference_stats
    send_unary(target)
    after = statistics(target).inference_stats
    grown = {
        name: getattr(after, name).ns - getattr(before, name).ns for name in ("success", *PHASES)
    }
    assert grown["queue"] > 0
    assert grown["compute_infer"] > 0
    assert all(ns >= 0 for ns in grown.values())
    assert sum(grown[name] for name in PHASES) <= 1.01 * grown["success"]
    assert grown["success"] < TIMEOUT_S * 1e9


def test_last_inference(target: Target) -> None:
    """The time of the last inference moves on, in milliseconds since 1970."""
    target.infer()
    before = statistics(target).last_inference
    target.infer()
    after = statistics(target).last_inference
    assert before <= after < before + TIMEOUT_S * 1000
    assert after > 1_600_000_000_000


def test_refused_request_is_no_success(target: Target) -> None:
    """A request that is refused counts as no success and no inference."""
    before = statistics(target)
    request = target.request()
    request.inputs[0].name = NOWHERE
    with pytest.raises(grpc.RpcError):
        target.call("ModelInfer", request)
    after = statistics(target)
    assert after.inference_count == before.inference_count
    assert after.inference_stats.success == before.inference_stats.success


def test_memory_usage(target: Target) -> None:
    """Memory, if the server reports it, is reported by device, in bytes (memory_usage)."""
    usages = statistics(target).memory_usage
    if not usages:
        pytest.skip("the server does not tell the memory of its models")
    for usage in usages:
        assert usage.type in {"CPU", "CPU_PINNED", "GPU"}
        assert usage.byte_size > 0


def test_which(target: Target) -> None:
    """Without a name the answer has all models; with a version it has that alone."""
    everything = target.ask("ModelStatistics").model_stats
    assert (target.model, target.version) in {(one.name, one.version) for one in everything}
    answer = target.ask("ModelStatistics", name=target.model, version=target.version)
    assert [(one.name, one.version) for one in answer.model_stats] == [
        (target.model, target.version)
    ]


@pytest.mark.rest
@pytest.mark.parametrize("which", ["model", "version", "all"])
def test_same_over_http(target: Target, which: str) -> None:
    """HTTP has the same numbers, and they are numbers (statistics extension)."""
    target.infer()
    path = {
        "model": target.path("/stats"),
        "version": target.path("/stats", target.version),
        "all": "/v2/models/stats",
    }[which]
    answer = target.rest.get(path)
    assert answer.status == 200
    (found,) = [
        one
        for one in answer.json["model_stats"]
        if (one["name"], one["version"]) == (target.model, target.version)
    ]
    told: pb.ModelStatistics = statistics(target)
    assert found["inference_count"] == told.inference_count
    assert found["inference_stats"]["success"]["ns"] == told.inference_stats.success.ns
    assert {one["batch_size"] for one in found["batch_stats"]} == {
        one.batch_size for one in told.batch_stats
    }
