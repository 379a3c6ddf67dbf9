"""Counts of another process, added to those of this one: `/metrics` is one page."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import Exemplar

from convoy.service.telemetry.counting import Counter, Observations
from convoy.service.telemetry.metrics import Metrics
from convoy.service.telemetry.statistics import Duration, Statistics

Report = dict[str, Any]
"""The counts since the last report, in a form that can be written as JSON."""


def take_metrics(metrics: Metrics) -> Report:
    """Return what *metrics* have counted, and begin again at 0."""
    return {
        "counters": {name: _take(counter) for name, counter in _counters(metrics).items()},
        "histograms": {
            name: [[labels, *_take_child(child)] for labels, child in children if any(child.counts)]
            for name, children in _histograms(metrics).items()
        },
    }


def add_metrics(metrics: Metrics, report: Report) -> None:
    """Add a report of another process to *metrics*."""
    counters, histograms = _counters(metrics), metrics.histograms
    for name, counts in report["counters"].items():
        for labels, count in counts:
            counters[name].counts[tuple(labels)] += count
    for name, children in report["histograms"].items():
        for labels, buckets, total, exemplars in children:
            child = histograms[name].labels(*labels)
            child.sum += total
            for index, count in enumerate(buckets):
                child.counts[index] += count
            for index, exemplar in exemplars:
                child.exemplars[index] = Exemplar(*exemplar)


def take_statistics(statistics: Statistics) -> Report | None:
    """Return what *statistics* have counted, and begin again at 0; None if nothing happened."""
    if not (statistics.answers or statistics.fail.count):
        return None
    report = {name: getattr(statistics, name) for name in _SUMS}
    report |= {"fail": [statistics.fail.count, statistics.fail.seconds]}
    report |= {"last_inference_ms": statistics.last_inference_ms}
    for name in _SUMS:
        setattr(statistics, name, type(report[name])())
    statistics.fail = Duration()
    return report


def add_statistics(statistics: Statistics, report: Report) -> None:
    """Add a report of another process to *statistics*."""
    for name in _SUMS:
        setattr(statistics, name, getattr(statistics, name) + report[name])
    count, seconds = report["fail"]
    statistics.fail.count += count
    statistics.fail.seconds += seconds
    latest = max(statistics.last_inference_ms, report["last_inference_ms"])
    statistics.last_inference_ms = latest


_SUMS = ("answers", "total_s", "queue_s", "input_s", "infer_s", "output_s", "inference_count")


def _counters(metrics: Metrics) -> Mapping[str, Counter]:
    return {
        "requests": metrics.requests,
        "rejected": metrics.rejected,
        "scores_not_finite": metrics.scores_not_finite,
        "transport_calls": metrics.transport_calls,
        "transport_dropped": metrics.transport_dropped,
    }


def _take(counter: Counter) -> list[tuple[tuple[str, ...], int]]:
    taken, counter.counts = counter.counts, Counts(dict.fromkeys(counter.counts, 0))
    return [(labels, count) for labels, count in taken.items() if count]


def _histograms(metrics: Metrics) -> Mapping[str, Iterable[tuple[tuple[str, ...], Observations]]]:
    return {name: histogram.children() for name, histogram in metrics.histograms.items()}


def _take_child(child: Observations) -> tuple[list[int], float, list[tuple[int, Exemplar]]]:
    # In place: others hold the object.
    counts, total = child.counts.copy(), child.sum
    exemplars = [(index, kept) for index, kept in enumerate(child.exemplars) if kept]
    child.counts[:] = [0] * len(counts)
    child.exemplars[:] = [None] * len(counts)
    child.sum = 0.0
    return counts, total, exemplars
