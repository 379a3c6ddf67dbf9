import pytest

from convoy.service.errors import ServerBusyError
from convoy.service.lifecycle import Lifecycle


def test_calls_that_wait_in_the_transport_keep_nobody_out() -> None:
    """
    The limit holds for the calls in flight only: a client can feign any number of waiting ones.
    """
    lifecycle = Lifecycle(max_calls=2)
    lifecycle.waiting = 1000
    lifecycle.enter(may_refuse=True)
    lifecycle.enter(may_refuse=True)
    with pytest.raises(ServerBusyError, match="2 calls"):
        lifecycle.enter(may_refuse=True)
    lifecycle.enter(may_refuse=False)
    assert lifecycle.in_flight == 3
