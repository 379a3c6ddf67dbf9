import pytest

from convoy.service.errors import RequestTooLargeError, ServerBusyError
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


def test_request_that_never_fits_is_not_to_be_sent_again() -> None:
    """
    A request with more bytes than all may have together is too large; the server is not busy.
    """
    lifecycle = Lifecycle(max_bytes=100)
    lifecycle.hold(60)
    with pytest.raises(ServerBusyError, match="60 bytes"):
        lifecycle.hold(100)
    with pytest.raises(RequestTooLargeError, match=r"at least 101 bytes; .* at most 100"):
        lifecycle.enter(101, may_refuse=True)
    with pytest.raises(RequestTooLargeError, match="at least 101 bytes"):
        lifecycle.hold(41, held=60)
    assert (lifecycle.in_flight, lifecycle.bytes_in_flight) == (0, 60)
