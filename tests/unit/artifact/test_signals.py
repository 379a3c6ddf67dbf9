"""Signals of images: their headers."""

import pytest

from convoy.artifact import signals
from tests.harness.images import png


def test_header() -> None:
    """
    An image has a format and a size; other bytes have none.
    """
    assert signals.read_header(png(3)) == ("PNG", 4, 4)
    assert signals.read_header(b"no image") is None


def test_memory_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A lack of memory does not turn an image into something else.
    """

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.Image.open", fail)
    with pytest.raises(MemoryError):
        signals.read_header(png(3))
