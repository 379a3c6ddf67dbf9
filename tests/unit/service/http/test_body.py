import asyncio
import gzip
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request

from convoy.service.errors import InvalidArgumentError, RequestTooLargeError
from convoy.service.http import body
from convoy.service.http.body import ClientDisconnectedError, read_body

LIMIT = 10_000


def request(*chunks: bytes | None, **headers: str) -> Request:
    """A request whose body comes in *chunks*; None stands for a disconnect."""
    coming: Iterator[dict[str, Any]] = iter(
        [
            {"type": "http.disconnect"}
            if chunk is None
            else {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
            for place, chunk in enumerate(chunks)
        ]
    )

    async def receive() -> dict[str, Any]:
        return next(coming)

    raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


def compressed(data: bytes, encoding: str = "gzip") -> bytes:
    return gzip.compress(data, mtime=0) if encoding == "gzip" else zlib.compress(data)


async def test_in_pieces() -> None:
    """
    A body is put together of what arrives.
    """
    assert await read_body(request(b"one ", b"", b"two"), LIMIT) == b"one two"
    assert await read_body(request(b""), LIMIT) == b""


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP", "Deflate"])
@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
async def test_compressed(encoding: str, size: int) -> None:
    """
    A compressed body is decompressed, up to the limit, with its encoding in any spelling.
    """
    data = bytes(size)
    sent = compressed(data, encoding.lower())
    assert await read_body(request(sent, content_encoding=encoding), LIMIT) == data


@pytest.mark.parametrize("data", [b"", b"short", bytes(LIMIT)])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_decompressed_bytes_count(encoding: str, data: bytes) -> None:
    """
    The bytes that count are those in memory: of the body as it was sent, or as it was before.
    """
    sent = compressed(data, encoding)
    counted: list[int] = []
    await read_body(request(sent, content_encoding=encoding), LIMIT, count=counted.append)
    assert sum(counted) == max(len(sent), len(data))


async def test_not_compressed() -> None:
    """
    `identity` is no compression.
    """
    assert await read_body(request(b"{}", content_encoding="identity"), LIMIT) == b"{}"


async def test_stated_length_is_believed_if_it_is_too_large() -> None:
    """
    A body whose stated length is too large is refused before anything is read.
    """
    with pytest.raises(RequestTooLargeError, match="exceeds the limit of 10000 bytes"):
        await read_body(request(content_length="10001"), LIMIT)


@pytest.mark.parametrize("length", ["0", "5", "x", "-1", ""])
async def test_stated_length_is_not_believed_otherwise(length: str) -> None:
    """
    The limit counts the bytes that arrive, not the stated length.
    """
    sent = request(bytes(LIMIT), b"x", b"never read", content_length=length)
    with pytest.raises(RequestTooLargeError):
        await read_body(sent, LIMIT)


async def test_exactly_the_limit() -> None:
    """
    The limit itself is allowed.
    """
    sent = request(bytes(LIMIT), content_length=str(LIMIT))
    assert len(await read_body(sent, LIMIT)) == LIMIT


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [LIMIT + 1, 5_000_000])
async def test_bomb(encoding: str, size: int) -> None:
    """
    A small compressed body that becomes too large is refused.
    """
    bomb = compressed(bytes(size), encoding)
    assert len(bomb) < LIMIT
    with pytest.raises(RequestTooLargeError):
        await read_body(request(bomb, content_encoding=encoding), LIMIT)


async def test_bomb_takes_no_memory() -> None:
    """
    No more memory is taken for a bomb than for the largest body.
    """
    sent = request(compressed(bytes(5_000_000)), content_encoding="gzip")
    tracemalloc.start()
    with pytest.raises(RequestTooLargeError):
        await read_body(sent, LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "is truncated"),
        (compressed(b"data")[:-1], "is truncated"),
        (compressed(b"data")[:5], "is truncated"),
        (b"{}", "cannot be decompressed"),
        (compressed(b"data", "deflate"), "cannot be decompressed"),
        (compressed(b"data")[:-4] + b"size", "cannot be decompressed"),
        (compressed(b"data") + b"{}", "extra bytes follow the compressed body"),
        (compressed(b"data") + compressed(b"more"), "extra bytes follow the compressed body"),
    ],
)
async def test_damaged_compressed_body(sent: bytes, message: str) -> None:
    """
    A compressed body that is cut off, broken or followed by more is an error.
    """
    with pytest.raises(InvalidArgumentError, match=message):
        await read_body(request(sent, content_encoding="gzip"), LIMIT)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 5000, ""])
async def test_unknown_encoding(encoding: str) -> None:
    """
    An encoding that is not known is named, shortly.
    """
    with pytest.raises(
        InvalidArgumentError, match="is not supported: use gzip or deflate"
    ) as failed:
        await read_body(request(b"{}", content_encoding=encoding), LIMIT)
    assert len(str(failed.value)) < 100


@pytest.mark.parametrize("chunks", [(None,), (b"half", None)])
async def test_disconnect_before_the_end(chunks: tuple[bytes | None, ...]) -> None:
    """
    A client that disconnects within its request counts as cancelled, not as an error.
    """
    with pytest.raises(ClientDisconnectedError):
        await read_body(request(*chunks), LIMIT)
    assert issubclass(ClientDisconnectedError, asyncio.CancelledError)


async def test_unpacking_does_not_block_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A body that may become large is decompressed in another thread.
    """
    threads = []
    make_unpacker = zlib.decompressobj

    def noted(window_bits: int) -> Any:
        threads.append(threading.current_thread())
        return make_unpacker(window_bits)

    monkeypatch.setattr(zlib, "decompressobj", noted)
    small, large = compressed(b"small"), compressed(bytes(2_000_000))
    assert len(small) < body.IN_THREAD_BYTES < len(large) < 64 * 1024
    await read_body(request(small, content_encoding="gzip"), LIMIT)
    await read_body(request(large, content_encoding="gzip"), 4_000_000)
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()
