from prometheus_client import CollectorRegistry, Histogram, generate_latest

from service.histogram import Histogram as Ours

BUCKETS = (0.001, 0.25, 1, 2.5)
VALUES = (0.0, 0.001, 0.0010001, 0.25, 0.5, 2.5, 2.6, 1000.0)


def test_same_text_as_the_library() -> None:
    """
    Values on, below, between and beyond the bounds give the text that prometheus_client's gives.
    """
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    for histogram in (
        Histogram("h", "Help.", ["a", "b"], buckets=BUCKETS, registry=theirs),
        Ours("h", "Help.", ["a", "b"], buckets=BUCKETS, registry=ours),
    ):
        for value in VALUES:
            histogram.labels("x", "y").observe(value)
        histogram.labels("x", "z").observe(0.5)

    def lines(registry: CollectorRegistry) -> list[str]:
        text = generate_latest(registry).decode().splitlines()
        return [line for line in text if "_created" not in line]

    assert lines(ours) == lines(theirs)
