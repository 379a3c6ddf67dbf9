"""gRPC calls over a plain socket, written and read as bytes.

A call costs this client a tenth of what it costs gRPC's own, so that a load is limited by the
server. Each call that it sends does reach the server, and each end is the server's own: there is no
clock, no retry and no cancellation on the client's side but those of the caller. It knows HTTP/2
only as far as a gRPC server on the same machine needs: requests of one small message.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import NamedTuple, Self

import grpc

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1

HEAD_BYTES = 9
PREFIX_BYTES = 5
"""Bytes of a frame's head, and of gRPC's prefix of a message."""

FIRST_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1

# Without a table the server writes equal headers as equal bytes, whatever it wrote before.
NO_TABLE = struct.pack(">HI", 1, 0)
NO_PUSH = struct.pack(">HI", 2, 0)
WIDE_STREAMS = struct.pack(">HI", 4, LARGEST_WINDOW)

RECEIVE_BYTES = 1 << 18
REPLENISH_BYTES = 1 << 20

CANCEL = 8
RESETS = {0: "UNKNOWN", 7: "UNAVAILABLE", CANCEL: "CANCELLED", 11: "RESOURCE_EXHAUSTED"}
"""The status of a call that was reset, by HTTP/2's code, as gRPC's specification maps it."""

LOST = "LOST"
"""The end of a call whose connection was closed."""

# A header's name, with its length, as the bytes that it is and in the Huffman code of RFC 7541.
_STATUS = b"\x0bgrpc-status", bytes.fromhex("889acac8b21234da8f")
_REASON = b"\x0cerror-reason", bytes.fromhex("892d961ec5ac28d07abf")
_DIGITS = (
    *("00000", "00001", "00010", "011001", "011010"),
    *("011011", "011100", "011101", "011110", "011111"),
)


class Ended(NamedTuple):
    """
    The end of one call.

    Attributes:
        stream: Its number.
        body: The bytes of its answer, with gRPC's prefix of five; empty if there is none.
        status: Name of gRPC's status, or `LOST`.
        has_reason: Whether the server gave a reason for it.
    """

    stream: int
    body: bytes
    status: str
    has_reason: bool


class Wire:
    """
    One connection to a server, closed by leaving it as a context manager, or by `close`.

    Calls begin when they are flushed, in their order.

    Attributes:
        open: What was received of the answers to come, by stream.
        closed: Whether the server has closed the connection.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open: dict[int, bytes] = {}
        self.closed = False
        self._next = 1
        self._window = FIRST_WINDOW
        self._consumed = 0
        self._rest = b""
        self._outgoing: deque[tuple[bytes, int]] = deque()  # with the bytes of DATA in each
        first = frame(SETTINGS, 0, 0, NO_TABLE + NO_PUSH + WIDE_STREAMS)
        self._push(PREFACE + first + window_update(LARGEST_WINDOW - FIRST_WINDOW))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def send(self, headers: bytes, message: bytes) -> int:
        """
        Begin a call and return the number of its stream.

        Args:
            headers: As `request_headers` returns them.
            message: With gRPC's prefix, as `framed` returns it.
        """
        stream, self._next = self._next, self._next + 2
        self.open[stream] = b""
        call = frame(HEADERS, END_HEADERS, stream, headers)
        self._push(call + frame(DATA, END_STREAM, stream, message), len(message))
        return stream

    def cancel(self, stream: int) -> None:
        """Cancel a call, which ends with this."""
        del self.open[stream]
        self._push(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))

    def flush(self) -> None:
        """Write what the server's window has room for."""
        ready = []
        while self._outgoing and self._outgoing[0][1] <= self._window:
            data, size = self._outgoing.popleft()
            self._window -= size
            ready.append(data)
        if ready:
            with suppress(OSError):  # reading tells that the connection was closed
                self.socket.sendall(b"".join(ready))

    def receive(self) -> Iterator[Ended]:
        """Read once, and yield the calls that ended; all of them if the connection was closed."""
        try:
            received = self.socket.recv(RECEIVE_BYTES)
        except OSError:
            received = b""
        if not received:
            yield from self._lose()
            return
        data, at = self._rest + received, 0
        while len(data) - at >= HEAD_BYTES:
            end = at + HEAD_BYTES + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            stream = int.from_bytes(data[at + 5 : at + HEAD_BYTES], "big")
            ended = self._take(data[at + 3], data[at + 4], stream, data[at + HEAD_BYTES : end])
            if ended is not None:
                yield ended
            at = end
        self._rest = data[at:]
        if self._consumed >= REPLENISH_BYTES:
            self._push(window_update(self._consumed))
            self._consumed = 0

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> Ended | None:
        """Take one frame; return the end of a call if it is one."""
        if kind == DATA:
            self._consumed += len(payload)
            # A call that was cancelled is open no more.
            if stream in self.open:
                self.open[stream] += payload
        # The last headers are the trailers.
        elif kind == HEADERS and flags & END_STREAM and stream in self.open:
            return Ended(stream, self.open.pop(stream), *_outcome(payload))
        elif kind == RST_STREAM and stream in self.open:
            (code,) = struct.unpack(">I", payload)
            return Ended(stream, self.open.pop(stream), RESETS.get(code, "INTERNAL"), False)
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._push(frame(kind, ACK, 0, payload if kind == PING else b""))
        return None

    def _lose(self) -> Iterator[Ended]:
        self.closed = True
        lost, self.open = list(self.open), {}
        self._outgoing.clear()
        yield from (Ended(stream, b"", LOST, False) for stream in lost)

    def _push(self, data: bytes, size: int = 0) -> None:
        self._outgoing.append((data, size))


# Without a table equal headers are equal bytes; the messages of some errors hold a time.
@lru_cache(maxsize=4096)
def _outcome(trailers: bytes) -> tuple[str, bool]:
    """Return the status, and whether there is a reason for it."""
    return status_of(trailers), any(name in trailers for name in _REASON)


def status_of(trailers: bytes) -> str:
    """
    Return the name of gRPC's status in an encoded list of headers.

    Raises:
        ValueError: If there is none.
    """
    for status in grpc.StatusCode:
        number = str(status.value[0])
        if any(
            name + value in trailers
            for name in _STATUS
            for value in (_plain(number), _coded(number))
        ):
            return status.name
    raise ValueError(f"headers without a status: {trailers.hex()}")


def _plain(number: str) -> bytes:
    return bytes([len(number)]) + number.encode()


def _coded(number: str) -> bytes:
    """Return digits in the Huffman code, whose last byte is filled with ones."""
    bits = "".join(_DIGITS[int(digit)] for digit in number)
    bits += "1" * (-len(bits) % 8)
    return bytes([0x80 | len(bits) // 8]) + int(bits, 2).to_bytes(len(bits) // 8, "big")


def request_headers(path: str, more: Mapping[str, str] | None = None) -> bytes:
    """Return the encoded headers of a call, with *more* of them."""
    headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "soak"}
    headers |= {"content-type": "application/grpc", "te": "trailers"} | dict(more or {})
    # Each as a literal that no table keeps; lengths are below 127.
    return b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers.items()
    )


def framed(message: bytes) -> bytes:
    """Return a message behind gRPC's prefix."""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return one frame of HTTP/2."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def window_update(size: int) -> bytes:
    """Return the frame that lets the server send so many more bytes on the connection."""
    return frame(WINDOW_UPDATE, 0, 0, size.to_bytes(4, "big"))
