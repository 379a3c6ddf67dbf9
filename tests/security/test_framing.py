"""A request whose end is not certain hides no other request: it ends its connection."""

from __future__ import annotations

import pytest

from tests.harness.calls import INFER
from tests.harness.http import Connection, request
from tests.security.target import Target

CHUNKED = "transfer-encoding: chunked"
BEHIND = b"0\r\n\r\n" + request("GET", "/v2")

UNCERTAIN = [
    [CHUNKED, "content-length: 5"],
    ["content-length: 5", CHUNKED],
    ["Content-Length:\t0", "Transfer-Encoding:\tChunked"],
    [CHUNKED, CHUNKED],
    ["transfer-encoding: gzip, chunked"],
    ["transfer-encoding: identity", "content-length: 5"],
    ["content-length: 5", "content-length: 6"],
    ["content-length: 5, 6"],
    ["content-length: +5"],
    ["content-length : 5"],
    [CHUNKED, "", "zz"],
    [CHUNKED, "", "1", "too long"],
    ["host: other"],
]


@pytest.mark.parametrize("lines", UNCERTAIN, ids=" | ".join)
async def test_uncertain_end(target: Target, lines: list[str]) -> None:
    """
    A request whose end or host is uncertain gets 400 and ends its connection.
    """
    head = "\r\n".join([f"POST {INFER} HTTP/1.1", "host: test", *lines, "", ""])
    async with Connection(f"http://{target.http}") as connection:
        await connection.send(head.encode() + BEHIND)
        answers = await connection.rest()
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1
