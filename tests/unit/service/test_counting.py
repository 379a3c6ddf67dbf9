import sys
import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from service import counting
from service.metrics import Metrics, ModelMetrics

BUCKETS = (0.001, 0.25, 1, 2.5)
VALUES = (0.0, 0.001, 0.0010001, 0.25, 0.5, 2.5, 2.6, 1000.0)


def lines(registry: CollectorRegistry) -> list[str]:
    text = generate_latest(registry).decode().splitlines()
    return [line for line in text if "_created" not in line]


def test_counter() -> None:
    """
    What was counted gives the text that prometheus_client's counter gives.
    """
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    library = Counter("c", "Help.", ["a", "b"], registry=theirs)
    counter = counting.Counter("c", "Help.", ["a", "b"], registry=ours)
    for labels, count in ((("x", "y"), 3), (("x", "z"), 1), (("x", "y"), 2)):
        library.labels(*labels).inc(count)
        counter.counts[labels] += count
    assert lines(ours) == lines(theirs)


def test_histogram() -> None:
    """
    Values on, below, between and beyond the bounds give the text that prometheus_client's gives.
    """
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    for histogram in (
        Histogram("h", "Help.", ["a", "b"], buckets=BUCKETS, registry=theirs),
        counting.Histogram("h", "Help.", ["a", "b"], buckets=BUCKETS, registry=ours),
    ):
        for value in VALUES:
            histogram.labels("x", "y").observe(value)
        histogram.labels("x", "z").observe(0.5)

    assert lines(ours) == lines(theirs)


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("hasty_threads")
def test_two_versions_count_batches_at_once() -> None:
    """
    Two versions of a model run batches in two threads, and no batch is lost.
    """
    metrics = Metrics(CollectorRegistry())
    versions = [ModelMetrics(metrics, "m") for _ in range(2)]

    def count(version: ModelMetrics) -> None:
        for _ in range(20_000):
            with version.batches:
                version.batch_size.observe(4)

    threads = [threading.Thread(target=count, args=[version]) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions[0].batch_size is versions[1].batch_size
    assert sum(versions[0].batch_size.counts) == 40_000
