from convoy.service.call import Failure, failure_of
from convoy.service.errors import QueueFullError
from convoy.service.rpc import unary
from convoy.service.telemetry.logs import Origin

ORIGIN = Origin.from_headers("mine", "", "")


def test_refusals_of_an_overload_are_kept() -> None:
    """
    The same refusal is built once for all calls; each gets its own identifier.
    """
    failure = Failure("RESOURCE_EXHAUSTED", "QUEUE_FULL", "9 images are waiting already", 0.05)
    before = unary._told_by_overload.cache_info()
    told = [unary.failure_metadata(failure, ORIGIN) for _ in range(3)]
    assert unary._told_by_overload.cache_info().hits >= before.hits + 2
    assert told[0] == told[2]
    assert dict(told[0])["x-request-id"] == "mine"
    assert dict(told[0])["grpc-retry-pushback-ms"] == "50"


def test_times_to_wait_are_whole_milliseconds() -> None:
    """
    Times to wait are rounded up, so that a client that waits is not too early.
    """
    failure = failure_of(QueueFullError("full", retry_after_s=0.0121))
    assert failure.retry_after_s == 0.013
    assert failure_of(QueueFullError("full")).retry_after_s is None


def test_what_quotes_a_client_is_not_kept() -> None:
    """
    Refusals that quote a client's text are not kept.
    """
    before = unary._told_by_overload.cache_info()
    failure = Failure("NOT_FOUND", "MODEL_NOT_FOUND", "no model " + "x" * 100_000)
    assert dict(unary.failure_metadata(failure, ORIGIN))["error-reason"] == "MODEL_NOT_FOUND"
    assert unary._told_by_overload.cache_info() == before
