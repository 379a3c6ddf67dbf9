from service.calls import Failure
from service.logs import Origin
from service.rpc import calls

ORIGIN = Origin.told("mine", "", "")


def test_what_an_overload_tells_is_kept() -> None:
    """
    The same refusal is put together once, whoever is refused; each gets its own identifier.
    """
    failure = Failure("RESOURCE_EXHAUSTED", "QUEUE_FULL", "9 images are waiting already", 0.05)
    before = calls._told_by_overload.cache_info()
    told = [calls.failure_metadata(failure, ORIGIN) for _ in range(3)]
    assert calls._told_by_overload.cache_info().hits >= before.hits + 2
    assert told[0] == told[2]
    assert dict(told[0])["x-request-id"] == "mine"
    assert dict(told[0])["grpc-retry-pushback-ms"] == "50"


def test_what_quotes_a_client_is_not_kept() -> None:
    """
    Texts that a client chooses, as long as it likes, take no memory once it is told.
    """
    before = calls._told_by_overload.cache_info()
    failure = Failure("NOT_FOUND", "MODEL_NOT_FOUND", "no model " + "x" * 100_000)
    assert dict(calls.failure_metadata(failure, ORIGIN))["error-reason"] == "MODEL_NOT_FOUND"
    assert calls._told_by_overload.cache_info() == before
