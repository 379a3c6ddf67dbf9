"""A small HTTP/2 client for tests, on asyncio's streams: it can leave gRPC calls unfinished."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    9,
)
"""Types of frames (RFC 9113, section 6)."""

ACK, END_STREAM, END_HEADERS = 1, 1, 4

INITIAL_WINDOW_SIZE = 4
"""The setting that states how many bytes may be sent on a new stream."""

MAX_FRAME_BYTES = 16_384
"""Most bytes in a frame."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Encode a header without an index and without Huffman's code (RFC 7541, section 6.2.2)."""
    return b"\x00" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    """Encode a length with a prefix of 7 bits (RFC 7541, section 5.1)."""
    size = len(text)
    if size < 127:
        return bytes([size])
    size -= 127
    encoded = bytearray([127])
    while size >= 128:
        encoded.append(size % 128 + 128)
        size //= 128
    return bytes([*encoded, size])


def headers(path: str, more: Mapping[str, str]) -> bytes:
    """Return the headers of a gRPC call, encoded."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "test",
        "content-type": "application/grpc",
        "te": "trailers",
        **more,
    }
    return b"".join(literal(name.encode(), value.encode()) for name, value in fields.items())


class Http2Connection:
    """
    One connection, which answers pings and keeps to the windows that the server announces.

    Attributes:
        ended: Streams that the server has reset.
        closed: Set when the server has closed the connection.
        sent: Bytes of messages that the server has let it send.
    """

    def __init__(self, address: str) -> None:
        self._host, self._port = address.rsplit(":", 1)
        self._stream = -1
        self._window = 65_535
        self._initial = 65_535
        self._windows: dict[int, int] = defaultdict(int)
        self._changed = asyncio.Condition()
        self.ended: set[int] = set()
        self.closed = asyncio.Event()
        self.sent = 0

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, int(self._port))
        self._writer.write(PREFACE + frame(SETTINGS, 0, 0))
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reading.cancel()
        self._writer.transport.abort()

    def begin(self, path: str, **more: str) -> int:
        """Send the headers of a call; return the number of its stream."""
        self._stream += 2
        block = headers(path, {name.replace("_", "-"): value for name, value in more.items()})
        self._writer.write(frame(HEADERS, END_HEADERS, self._stream, block))
        return self._stream

    async def send(self, stream: int, data: bytes) -> None:
        """Send *data* as far as the server takes it, until the stream or connection ends."""
        left = memoryview(data)
        while left and not self.closed.is_set() and stream not in self.ended:
            room = min(MAX_FRAME_BYTES, self._window, self._initial + self._windows[stream])
            if room <= 0:
                async with self._changed:
                    await self._changed.wait()
                continue
            part, left = left[:room], left[room:]
            self._window -= len(part)
            self._windows[stream] -= len(part)
            self._writer.write(frame(DATA, 0, stream, bytes(part)))
            self.sent += len(part)
            await self._writer.drain()

    async def until_ended(self, stream: int) -> None:
        """Wait until the server has ended a stream, or the connection."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.closed.is_set() or stream in self.ended)

    async def send_part_of_message(self, path: str, size: int, **more: str) -> int:
        """Begin a call and send all but the last of *size* bytes; return its stream."""
        stream = self.begin(path, **more)
        await self.send(stream, b"\0" + size.to_bytes(4) + bytes(size - 1))
        return stream

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3]))
                self._take(head[3], head[4], int.from_bytes(head[5:9]), payload)
                async with self._changed:
                    self._changed.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
            async with self._changed:
                self._changed.notify_all()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload)
        elif kind == WINDOW_UPDATE:
            self._windows[stream] += int.from_bytes(payload)
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                if int.from_bytes(payload[at : at + 2]) == INITIAL_WINDOW_SIZE:
                    self._initial = int.from_bytes(payload[at + 2 : at + 6])
            self._writer.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._writer.write(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
            self.ended.add(stream)
