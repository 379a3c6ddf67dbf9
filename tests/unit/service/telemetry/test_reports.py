"""Counts of one process that are added to those of another."""

import json

from prometheus_client import CollectorRegistry

from convoy.service.telemetry.metrics import Metrics
from convoy.service.telemetry.reports import (
    add_metrics,
    add_statistics,
    take_metrics,
    take_statistics,
)
from convoy.service.telemetry.statistics import Statistics


def test_metrics_are_added_once() -> None:
    """
    The counts of a process reach the other one once, as JSON, and are added to its own.
    """
    front, engine = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    phase = front.phase_duration.labels("tiny", "queue")
    labels = {"model": "tiny", "method": "ModelInfer", "code": "OK"}
    engine.requests.counts["tiny", "ModelInfer", "OK"] += 5
    for times in (1, 2):
        front.requests.counts["tiny", "ModelInfer", "OK"] += 1
        front.refused("QUEUE_FULL", "tiny")
        phase.observe(0.003)
        front.transport_wait.observe(0.1, 3)
        phase.keep_exemplar(0.003, f"trace {times}")
        add_metrics(engine, json.loads(json.dumps(take_metrics(front))))
        sample = engine.registry.get_sample_value
        assert sample("convoy_requests_total", labels) == 5 + times
        reason = {"model": "tiny", "reason": "QUEUE_FULL"}
        assert sample("convoy_rejected_total", reason) == times
        queued = {"model": "tiny", "phase": "queue"}
        assert sample("convoy_phase_duration_seconds_count", queued) == times
        assert sample("convoy_phase_duration_seconds_sum", queued) == 0.003 * times
        assert sample("convoy_transport_wait_seconds_count") == 3 * times
        kept = filter(None, engine.phase_duration.labels("tiny", "queue").exemplars)
        assert [one.labels["trace_id"] for one in kept] == [f"trace {times}"]
    # Nothing has happened since.
    taken = take_metrics(front)
    assert not any(taken["counters"].values())
    assert not any(taken["histograms"].values())


def test_statistics_are_added_once() -> None:
    """
    The same of a model's statistics.
    """
    front, engine = Statistics(), Statistics()
    engine.fail.add(1.0)
    front.add_answer(2, total_s=6, queue_s=1, input_s=1, infer_s=2, output_s=2)
    front.fail.add(0.5)
    report = take_statistics(front)
    assert report
    add_statistics(engine, json.loads(json.dumps(report)))
    assert (engine.answers, engine.inference_count, engine.total_s) == (1, 2, 6)
    assert (engine.fail.count, engine.fail.seconds) == (2, 1.5)
    assert engine.last_inference_ms == front.last_inference_ms
    assert take_statistics(front) is None
