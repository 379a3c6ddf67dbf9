import string
from urllib.parse import quote

import pytest

from convoy.service.errors import ModelNotFoundError, QueueFullError
from convoy.service.rpc import unary
from convoy.service.telemetry.logs import Origin

ORIGIN = Origin("mine")


def test_metadata_of_an_overload_is_kept() -> None:
    """
    The same refusal is put together once, for all clients; each gets its own identifier.
    """
    error = QueueFullError("9 images are waiting", retry_after_s=0.05)
    before = unary._details_of_overload.cache_info()
    sent = [unary.error_metadata(error, ORIGIN) for _ in range(3)]
    assert unary._details_of_overload.cache_info().hits >= before.hits + 2
    assert sent[0] == sent[2]
    assert dict(sent[0])["x-request-id"] == "mine"
    assert dict(sent[0])["grpc-retry-pushback-ms"] == "50"


def test_times_to_wait_are_whole_milliseconds() -> None:
    """
    They are rounded up: a client that waits for that long is not too early.
    """
    metadata = dict(unary.error_metadata(QueueFullError("full", retry_after_s=0.0121), ORIGIN))
    assert metadata["grpc-retry-pushback-ms"] == "13"
    assert "grpc-retry-pushback-ms" not in dict(
        unary.error_metadata(QueueFullError("full"), ORIGIN)
    )


@pytest.mark.parametrize("character", ["x", "ü", "木", "\U0001f600", "%"])
def test_long_text_leaves_room(character: str) -> None:
    """
    The status of an error with a long text, in any language, is one that clients accept.
    """
    error = ModelNotFoundError(f"no model {character * 100_000}")
    text = unary.error_text(error)
    assert text.startswith(f"no model {character}")
    assert text.endswith(f"{character}...")
    encoded = quote(text, safe=string.printable.replace("%", ""))
    sizes = [len(key) + len(value) + 32 for key, value in unary.error_metadata(error, ORIGIN)]
    assert len(encoded) + sum(sizes) < 7_500
    assert unary.error_text(ModelNotFoundError(text[:100])) == text[:100]


def test_metadata_that_quotes_a_client_is_not_kept() -> None:
    """
    Texts that a client chooses, as long as it likes, take no memory once they are sent.
    """
    before = unary._details_of_overload.cache_info()
    error = ModelNotFoundError("no model " + "x" * 100_000)
    assert dict(unary.error_metadata(error, ORIGIN))["error-reason"] == "MODEL_NOT_FOUND"
    assert unary._details_of_overload.cache_info() == before
