import pytest
from prometheus_client import CollectorRegistry

from convoy.service.lifecycle import Lifecycle
from convoy.service.rpc.backlog import SETTLING_SAMPLES, Backlog, CallCounts
from convoy.service.telemetry.metrics import Metrics


class Transport:
    """A backlog with its clock, and all that it tells others."""

    def __init__(self) -> None:
        self.lifecycle = Lifecycle()
        self.registry = CollectorRegistry()
        self.backlog = Backlog(self.lifecycle, Metrics(self.registry))
        self.began_at = self.backlog._last.at

    def sample(self, after_s: float, *, started: int, ended: int) -> None:
        """Let the transport have these counts *after_s* seconds after its start."""
        self.backlog.sample(CallCounts(started, ended), self.began_at + after_s)

    def settle(self, after_s: float, *, started: int, ended: int) -> None:
        """Let the transport have these counts until dropped calls are counted."""
        for _ in range(2 * SETTLING_SAMPLES):
            self.sample(after_s, started=started, ended=ended)

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample of the metrics."""
        return self.registry.get_sample_value(f"convoy_transport_{name}", labels)


def test_wait() -> None:
    """
    The wait is the time that calls spent waiting, divided by the calls that entered meanwhile.
    """
    transport = Transport()
    transport.sample(1.0, started=8, ended=0)
    assert transport.lifecycle.waiting == 8
    assert transport.value("wait_seconds_count") == 0
    # 8 calls wait for a second on average 8 / 2, then 8 for half a second: 8 seconds in all.
    transport.backlog.entered = transport.backlog.left = 4
    transport.sample(1.5, started=12, ended=4)
    assert transport.lifecycle.waiting == 8
    assert transport.value("wait_seconds_count") == 4
    assert transport.value("wait_seconds_sum") == pytest.approx(8.0)
    assert transport.value("wait_seconds_bucket", le="2.5") == 4
    assert transport.value("wait_seconds_bucket", le="1.0") == 0
    assert transport.value("calls_total") == 12


def test_calls_in_handlers_do_not_wait() -> None:
    """
    A call that is in its handler does not wait, whether or not its client has disconnected.
    """
    transport = Transport()
    with transport.backlog, transport.backlog:
        transport.sample(1.0, started=3, ended=0)
        assert transport.lifecycle.waiting == 1
        transport.sample(2.0, started=3, ended=1)
        assert transport.lifecycle.waiting == 0
        assert transport.value("dropped_calls_total") == 0


def test_dropped() -> None:
    """
    Calls that ended without a handler are dropped; those that a handler took are not.
    """
    transport = Transport()
    for _ in range(5):
        with transport.backlog:
            pass
    transport.backlog.reached = 7
    transport.settle(1.0, started=7, ended=6)
    assert transport.value("dropped_calls_total") == 1
    assert transport.lifecycle.waiting == 1
    # Its handler has taken the last one, and the transport counts it later.
    with transport.backlog:
        transport.sample(4.0, started=7, ended=6)
    transport.settle(5.0, started=7, ended=7)
    assert transport.value("dropped_calls_total") == 1
    assert transport.lifecycle.waiting == 0


def test_call_on_its_way_to_its_handler_is_not_dropped() -> None:
    """
    A call that has ended in the transport, and enters its handler soon, is never counted.
    """
    transport = Transport()
    transport.sample(1.0, started=1, ended=1)
    transport.sample(1.05, started=1, ended=1)
    with transport.backlog:
        pass
    transport.settle(2.0, started=1, ended=1)
    assert transport.value("dropped_calls_total") == 0


def test_calls_that_never_reach_python_are_dropped() -> None:
    """
    A call that does not come while the event loop runs is lost: its end is never counted.
    """
    transport = Transport()
    transport.settle(1.0, started=3, ended=0)
    transport.settle(2.0, started=3, ended=0)
    assert transport.value("dropped_calls_total") == 3
    assert transport.lifecycle.waiting == 0


def test_calls_that_end_before_they_reach_python_are_dropped_once() -> None:
    """
    A call whose end is counted is not lost as well.
    """
    transport = Transport()
    transport.settle(1.0, started=3, ended=3)
    transport.settle(2.0, started=3, ended=3)
    assert transport.value("dropped_calls_total") == 3


def test_blocked_event_loop_loses_no_calls() -> None:
    """
    Calls that wait for an event loop that stands still are not lost, however long that takes.
    """
    transport = Transport()
    for second in (10.0, 20.0, 30.0):
        transport.sample(second, started=3, ended=0)
    assert transport.lifecycle.waiting == 3
    assert transport.value("dropped_calls_total") == 0


def test_answers_that_are_not_read_do_not_wait() -> None:
    """
    Calls whose handlers have ended, and whose clients do not read the answers, do not wait.
    """
    transport = Transport()
    for _ in range(10):
        with transport.backlog:
            pass
    transport.sample(1.0, started=10, ended=0)
    transport.sample(9.0, started=10, ended=0)
    assert transport.lifecycle.waiting == 0
    assert transport.value("wait_seconds_sum") == 0


def test_dropped_calls_take_their_wait_with_them() -> None:
    """
    The time of calls that were dropped is not charged to those that enter later.
    """
    transport = Transport()
    transport.sample(1.0, started=1000, ended=0)
    transport.sample(2.0, started=1000, ended=0)
    transport.sample(2.05, started=1000, ended=1000)
    transport.settle(4.0, started=1000, ended=1000)
    with transport.backlog:
        pass
    transport.sample(5.05, started=1001, ended=1001)
    assert transport.value("wait_seconds_count") == 1
    assert transport.value("wait_seconds_sum") == 0
    assert transport.value("dropped_calls_total") == 1000


def test_two_transports_add_up() -> None:
    """
    The calls that wait in several transports add up, and each sample replaces the one before.
    """
    transport = Transport()
    other = Backlog(transport.lifecycle, Metrics(CollectorRegistry()))
    other.sample(CallCounts(started=5, ended=0), transport.began_at)
    transport.sample(1.0, started=3, ended=0)
    assert transport.lifecycle.waiting == 8
    transport.sample(2.0, started=3, ended=3)
    assert transport.lifecycle.waiting == 5
