import pytest

from convoy.service.errors import ServerBusyError
from convoy.service.lifecycle import Lifecycle


def test_calls_that_wait_in_the_transport_count() -> None:
    """
    The limit holds for the calls in flight and those that wait in the transport together.
    """
    lifecycle = Lifecycle(max_calls=3)
    lifecycle.enter(may_refuse=True)
    lifecycle.waiting = 2
    with pytest.raises(ServerBusyError, match="3 calls"):
        lifecycle.enter(may_refuse=True)
    lifecycle.enter(may_refuse=False)
    lifecycle.waiting = 0
    lifecycle.enter(may_refuse=True)
    assert lifecycle.in_flight == 3
