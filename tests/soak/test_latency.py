import pytest

from tests.soak.latency import Turn, problems
from tests.soak.server_counts import ServerCounts

METRICS = """\
# TYPE convoy_requests_total counter
convoy_requests_total{model="a",method="ModelInfer",code="OK"} 5
convoy_requests_total{model="b",method="ModelInfer",code="OK"} 2
# TYPE convoy_batch_size histogram
convoy_batch_size_bucket{model="a",le="+Inf"} 3
convoy_batch_size_sum{model="a"} 7
convoy_batch_size_count{model="a"} 3
# TYPE convoy_request_duration_seconds histogram
convoy_request_duration_seconds_bucket{model="a",le="+Inf"} 5
convoy_request_duration_seconds_sum{model="a"} 0.5
convoy_request_duration_seconds_count{model="a"} 5
# TYPE convoy_transport_calls_total counter
convoy_transport_calls_total 9
# TYPE convoy_transport_dropped_calls_total counter
convoy_transport_dropped_calls_total 4
# TYPE convoy_calls_in_flight gauge
convoy_calls_in_flight 1
# TYPE convoy_transport_waiting_calls gauge
convoy_transport_waiting_calls 2
# TYPE convoy_transport_wait_seconds histogram
convoy_transport_wait_seconds_bucket{le="+Inf"} 5
convoy_transport_wait_seconds_sum 1.5
convoy_transport_wait_seconds_count 5
"""


@pytest.mark.parametrize(
    ("client_s", "server_s", "wait_s", "is_sound"),
    [
        (0.020, 0.019, 0.0, True),
        (0.020, 0.001, 0.018, True),
        (0.020, 0.0001, 0.0, False),
        (0.020, 0.021, 0.0, False),
        (0.020, 0.001, 0.040, False),
        (0.0004, 0.0001, 0.0, True),  # two processes that wake up take as long
    ],
)
def test_latencies_agree(client_s: float, server_s: float, wait_s: float, is_sound: bool) -> None:
    """
    A server that sees more than its client, or less than half, is a problem.
    """
    turn = Turn(16, 1000, client_s, server_s, wait_s, measured=1000)
    assert bool(problems([turn])) is not is_sound
    assert problems([turn._replace(measured=999)])


def test_counts_of_a_server() -> None:
    """
    Counts are read from the text of a server's metrics, added over what does not matter.
    """
    counts = ServerCounts.read(METRICS)
    assert counts.calls == {"ModelInfer": {"OK": 7}}
    assert counts.images == {"a": 7}
    assert counts.inferences == {"a": 5, "b": 2}
    assert (counts.duration_s, counts.durations) == ({"a": 0.5}, {"a": 5})
    assert (counts.received, counts.dropped) == (9, 4)
    assert (counts.wait_s, counts.in_flight) == (1.5, 3)
