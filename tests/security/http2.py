"""Calls over HTTP/2 in bytes: headers that no gRPC client would send."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence

TIMEOUT_S = 20.0

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION = 0, 1, 3, 4, 7, 9
"""Types of frames (RFC 9113, section 6)."""

END_STREAM, END_HEADERS = 1, 4

FRAME_BYTES = 16384
"""Most bytes in a frame."""

Header = tuple[bytes, bytes]


def call(address: str, path: str, headers: Sequence[Header], message: bytes = b"") -> bytes:
    """
    Call an rpc with *headers* beside those that gRPC demands, on a connection of its own.

    Returns:
        The bytes of the frames that the server sent until it ended the stream or the connection.
    """
    host, port = address.rsplit(":", 1)
    pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode())]
    usual = [(b":authority", b"test"), (b"content-type", b"application/grpc"), (b"te", b"trailers")]
    body = struct.pack(">BI", 0, len(message)) + message
    block = b"".join(_literal(name, value) for name, value in [*pseudo, *usual, *headers])
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        frames = [
            _frame(SETTINGS, 0, 0, b""),
            *_header_frames(block),
            _frame(DATA, END_STREAM, 1, body),
        ]
        connection.sendall(PREFACE + b"".join(frames))
        return b"".join(_received(connection))


def _header_frames(block: bytes) -> Iterator[bytes]:
    """Split a block of headers into frames."""
    parts = [block[start : start + FRAME_BYTES] for start in range(0, len(block), FRAME_BYTES)]
    for number, part in enumerate(parts):
        flags = END_HEADERS if number == len(parts) - 1 else 0
        yield _frame(CONTINUATION if number else HEADERS, flags, 1, part)


def _received(connection: socket.socket) -> Iterator[bytes]:
    """Yield the payload of each frame, to the end of the stream or of the connection."""
    with connection.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            yield stream.read(length)
            ends = kind in (DATA, HEADERS) and flags & END_STREAM
            if ends or kind in (RST_STREAM, GOAWAY):
                return


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
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
