"""Reading from the connection of a request: its body, within limits, and its end.

A client that closes the connection before it has its answer withdraws its call.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from convoy.service.call import Call
from convoy.service.errors import InvalidArgumentError, RequestTooLargeError, RequestTooSlowError

IN_THREAD_BYTES = 1024
"""Bodies of this size and more are decompressed in a thread: they may grow a thousandfold."""

T = TypeVar("T")

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class ClientDisconnectedError(asyncio.CancelledError):
    """The client closed the connection before its answer was there."""


class BodyReader:
    """
    Reads the bodies of calls, within limits, and counts their bytes as in flight.

    Args:
        max_bytes: Largest body, on the wire or decompressed.
        timeout_s: Longest time for a body to arrive, in seconds.
    """

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, request: Request, call: Call, limit: int | None = None) -> bytes:
        """Read the body of the request of *call*; raises as `read_body`."""
        most = self._max_bytes if limit is None else limit
        return await read_body(request, most, timeout_s=self._timeout_s, count=call.hold)


async def read_body(
    request: Request,
    limit: int,
    *,
    timeout_s: float | None = None,
    count: Callable[[int], None] | None = None,
) -> bytes:
    """
    Read a body, and decompress it if it is compressed (gzip or deflate).

    Args:
        limit: Maximum size in bytes, on the wire or decompressed.
        timeout_s: Longest time for the body to arrive, in seconds; None is no limit.
        count: Called with the size of each part before the next one is read, and with the bytes
            that decompression has added; may raise.

    Raises:
        RequestTooLargeError: If it has more than *limit* bytes, on the wire or decompressed.
        RequestTooSlowError: If it does not arrive in time.
        InvalidArgumentError: If it cannot be decompressed.
        ClientDisconnectedError: If the client disconnects before its end.
    """
    try:
        async with asyncio.timeout(timeout_s):
            body = await _read(request, limit, count)
    except TimeoutError as error:
        raise RequestTooSlowError(f"the body did not arrive within {timeout_s} s") from error
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return body
    # Unknown encodings, and lists of several.
    if encoding not in _WINDOW_BITS:
        raise InvalidArgumentError(
            f"content-encoding {encoding[:32]!r} is not supported: use gzip or deflate"
        )
    # A small body is decompressed faster than it is handed to a thread.
    if len(body) < IN_THREAD_BYTES:
        data = _decompressed(body, _WINDOW_BITS[encoding], limit)
    else:
        data = await asyncio.to_thread(_decompressed, body, _WINDOW_BITS[encoding], limit)
    # What is in memory until the answer is this, not the compressed body.
    if count:
        count(max(0, len(data) - len(body)))
    return data


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """
    Await *work*; cancel it if the client closes the connection meanwhile.

    Raises:
        ClientDisconnectedError: If it does.
    """
    working = asyncio.create_task(work)
    disconnect = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():  # `finally` withdraws the work
            raise ClientDisconnectedError
        return working.result()
    finally:
        working.cancel()
        disconnect.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request, limit: int, count: Callable[[int], None] | None) -> bytes:
    length = request.headers.get("content-length", "0")
    # A length that is too large is refused before a byte is read.
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async for chunk in request.stream():
            if count:
                count(len(chunk))
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
    except ClientDisconnect as error:
        raise ClientDisconnectedError from error
    return bytes(body)


def _decompressed(body: bytes, window_bits: int, limit: int) -> bytes:
    decompressor = zlib.decompressobj(window_bits)
    try:
        # One byte more than allowed: enough to know, however large the rest would become.
        data = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidArgumentError("the body cannot be decompressed") from error
    if len(data) > limit:
        raise _too_large(limit)
    # The limit holds, so the data ended: either completely, or in the middle.
    if not decompressor.eof:
        raise InvalidArgumentError("the compressed body is truncated")
    if decompressor.unused_data:
        raise InvalidArgumentError("extra bytes follow the compressed body")
    return data


def _too_large(limit: int) -> RequestTooLargeError:
    return RequestTooLargeError(f"the request exceeds the limit of {limit} bytes")
