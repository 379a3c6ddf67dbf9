from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from convoy.service.telemetry import counting

BUCKETS = (0.001, 0.25, 1, 2.5)
VALUES = (0.0, 0.001, 0.0010001, 0.25, 0.5, 2.5, 2.6, 1000.0)


def lines(registry: CollectorRegistry) -> list[str]:
    text = generate_latest(registry).decode().splitlines()
    return [line for line in text if "_created" not in line]


def test_counter() -> None:
    """
    The counter gives the same text as prometheus_client's.
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
