import json
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from convoy.service.telemetry.gpu import GpuFacts
from convoy.service.telemetry.history import History
from convoy.service.telemetry.metrics import LATENCY_BUCKETS_S, Metrics, ModelFacts
from tests.harness import tiny


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def facts() -> Iterator[ModelFacts]:
    """Two versions of one model."""
    for version, depth in ((1, 2), (2, 3)):
        yield ModelFacts(
            manifest=tiny.manifest(version=version),
            provider="CPUExecutionProvider",
            precision="float32",
            ready=True,
            nodes={},
            fallback=False,
            device_bytes=0,
            load_s=0.0,
            queue_depth=depth,
            queue_limit=8,
        )


def told(kept: History, number: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(kept.since(number))
    return answer


def test_a_sample_is_what_changed(metrics: Metrics) -> None:
    """
    Counts and observations are those since the sample before; of gauges there is the value.
    """
    metrics.requests.counts["tiny", "ModelInfer", "OK"] += 7
    gpu = GpuFacts("uuid", used_bytes=1, total_bytes=2, utilization=0.25)
    kept = History(metrics, facts, lambda: [gpu])
    metrics.requests.counts["tiny", "ModelInfer", "OK"] += 3
    metrics.requests.counts["tiny", "Classify", "OK"] += 1
    metrics.requests.counts["tiny", "ModelMetadata", "OK"] += 1  # no inference
    metrics.rejected.counts["tiny", "QUEUE_FULL"] += 2
    metrics.phase_duration.labels("tiny", "queue").observe(0.0004)
    metrics.request_duration.labels("tiny").observe(99)
    metrics.batch_size.labels("tiny").observe(2)
    metrics.transport_wait.observe(0.0004, times=3)
    kept.take()
    kept.take()
    first, second = told(kept)["samples"]
    assert first["models"] == {
        "tiny": {
            "queue_depth": 5,
            "requests": {"OK": 4},
            "rejected": {"QUEUE_FULL": 2},
            "phases": {"queue": {"1": 1}},
            "duration": {str(len(LATENCY_BUCKETS_S)): 1},
            "batch_size": {"1": 1},
            "images": 2,
        }
    }
    assert second["models"] == {"tiny": {"queue_depth": 5}}
    assert (first["transport_wait"], second["transport_wait"]) == ({"1": 3}, {})
    assert first["memory_bytes"]["resident"] > 0
    assert first["processor_s"] > 0
    assert first["gpus"] == [0.25]


def test_processor_time_of_a_front_that_ends(metrics: Metrics) -> None:
    """
    The processor time that a process takes along when it ends is no negative use.
    """
    used_s = iter([5.0, 8.0, 6.0, 7.5])
    kept = History(metrics, facts, processor_s=lambda: next(used_s))
    for _ in range(3):
        kept.take()
    assert [sample["processor_s"] for sample in told(kept)["samples"]] == [3.0, 0.0, 1.5]


def test_continues_after_a_cursor(metrics: Metrics) -> None:
    """
    A client gets what follows its cursor, or everything if the cursor is unknown.
    """
    kept = History(metrics, facts, length=3)
    assert (told(kept)["first"], told(kept)["samples"]) == (0, [])
    for _ in range(5):
        kept.take()
    for number, first, count in ((0, 2, 3), (2, 2, 3), (4, 4, 1), (5, 5, 0), (6, 2, 3)):
        answer = told(kept, number)
        assert (answer["first"], len(answer["samples"])) == (first, count)
    assert told(kept)["instance"] != told(History(metrics, facts))["instance"]
