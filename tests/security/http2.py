"""Calls over HTTP/2 in bytes: headers that no gRPC client would send."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence

from tests.harness.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_FRAME_BYTES,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    literal,
)

TIMEOUT_S = 20.0

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
    block = b"".join(literal(name, value) for name, value in [*pseudo, *usual, *headers])
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        frames = [
            frame(SETTINGS, 0, 0, b""),
            *_header_frames(block),
            frame(DATA, END_STREAM, 1, body),
        ]
        connection.sendall(PREFACE + b"".join(frames))
        return b"".join(_received(connection))


def _header_frames(block: bytes) -> Iterator[bytes]:
    """Split a block of headers into frames."""
    parts = [
        block[start : start + MAX_FRAME_BYTES] for start in range(0, len(block), MAX_FRAME_BYTES)
    ]
    for number, part in enumerate(parts):
        flags = END_HEADERS if number == len(parts) - 1 else 0
        yield frame(CONTINUATION if number else HEADERS, flags, 1, part)


def _received(connection: socket.socket) -> Iterator[bytes]:
    """Yield the payload of each frame, to the end of the stream or of the connection."""
    with connection.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            yield stream.read(length)
            ends = kind in (DATA, HEADERS) and flags & END_STREAM
            if ends or kind in (RST_STREAM, GOAWAY):
                return
