"""No line of the log holds a token, wherever and however malformed a client sends it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import quote

import pytest

from convoy.service.security.tokens import Token
from tests.harness.http import Connection
from tests.security.entries import rpcs
from tests.security.http2 import Header, call
from tests.security.log import Log
from tests.security.target import Target

CALLED = {"ServerMetadata", "ModelInfer", "ModelStreamInfer", "Check", "List"}
"""Rpcs of each kind: of our services, on the fast path, a stream, and of health."""

_, TEXT = Token.make("secret", ["infer"])
TOKEN = TEXT.encode()
BEARER = b"Bearer " + TOKEN

METADATA: dict[str, list[Header]] = {
    "valid": [(b"authorization", BEARER)],
    "latin-1": [(b"authorization", BEARER + b"\xa0")],
    "bytes": [(b"authorization", b"\xff\xfe" + BEARER + bytes(range(128, 256)))],
    "several": [(b"authorization", BEARER)] * 3,
    "long": [(b"authorization", BEARER * 100 + b"\xff")],
    "too long": [(b"authorization", BEARER * 1000)],
    "NUL": [(b"authorization", BEARER + b"\x00")],
    "lines": [(b"authorization", BEARER + b"\r\nx-more: y")],
    "no scheme": [(b"authorization", TOKEN + b"\xff")],
    "basic": [(b"authorization", b"Basic " + TOKEN)],
    "binary": [(b"authorization-bin", BEARER)],
    "no base64": [(b"authorization-bin", b"!" + BEARER + b"\xff")],
    "binary trace": [(b"grpc-trace-bin", TOKEN), (b"grpc-tags-bin", TOKEN + b"\xff")],
    "upper case": [(b"Authorization", BEARER)],
    "key": [(TOKEN.lower(), b"x"), (TOKEN, b"x")],
    "key of bytes": [(TOKEN + b"\xff", b"x")],
    "key with spaces": [(b"authorization: " + BEARER, b"x")],
    "no key": [(b"", BEARER)],
    "identifier": [(b"x-request-id", TOKEN)],
    "trace": [(b"traceparent", b"00-" + TOKEN + b"-01")],
    "api key": [(b"x-api-key", TOKEN + b"\xff"), (b"cookie", b"token=" + TOKEN)],
    "user agent": [(b"user-agent", TOKEN + b"\xff")],
    "timeout": [(b"grpc-timeout", TOKEN)],
    "encoding": [(b"grpc-encoding", TOKEN), (b"grpc-accept-encoding", TOKEN + b"\xff")],
    "content type": [(b"content-type", TOKEN)],
    "te": [(b"te", TOKEN)],
    "late pseudo-header": [(b":authority", TOKEN), (b":path", b"/" + TOKEN)],
}
"""Metadata of a call by the name of its case."""

HEADERS: dict[str, bytes] = {
    "valid": b"authorization: %s",
    "latin-1": b"authorization: %s\xa0",
    "several": b"authorization: %s\r\nauthorization: %s",
    "NUL": b"authorization: %s\x00",
    "folded": b"authorization:\r\n %s",
    "key": b"%s: x",
    "no colon": b"%s",
    "identifier": b"x-request-id: %s",
    "cookie": b"cookie: token=%s",
    "host": b"host: %s",
    "length": b"content-length: %s",
    "encoding": b"transfer-encoding: %s",
    "upgrade": b"connection: upgrade\r\nupgrade: %s",
    "expect": b"expect: %s",
    "long": b"authorization: " + b"%s" * 1000,
}
"""Lines of an HTTP request by the name of their case; %s is the token."""

PATHS = (
    "/v2/models/TOKEN/ready",
    "/v2/models/TOKEN/infer",
    "/v2/models/none/versions/TOKEN",
    "/page/history?since=TOKEN",
    "/v2?access_token=TOKEN",
    "/metrics?token=TOKEN",
    "/TOKEN",
    "/web/TOKEN",
    "/v2/systemsharedmemory/TOKEN",
    "http://TOKEN/v2",
    "TOKEN",
    "//TOKEN@host/%zz",
)


async def send(target: Target, request: bytes) -> None:
    """Send what may be HTTP, and wait until the server closes the connection."""
    # A server closes without reading the rest of what it has refused already.
    with suppress(ConnectionError):
        async with Connection(f"http://{target.http}") as connection:
            await connection.send(request)
            connection.close_sending()
            await connection.rest()


@pytest.mark.parametrize("case", METADATA)
async def test_metadata(target: Target, log: Log, case: str) -> None:
    """A token in malformed metadata of any rpc is not in the log."""
    paths = [rpc.path for rpc in rpcs() if rpc.method in CALLED]
    with ThreadPoolExecutor(len(paths)) as threads:
        assert all(threads.map(lambda path: call(target.grpc, path, METADATA[case]), paths))
    assert await log.holding(TEXT) == []


@pytest.mark.parametrize("case", HEADERS)
async def test_headers(target: Target, log: Log, case: str) -> None:
    """A token in malformed headers over HTTP is not in the log."""
    lines = HEADERS[case].replace(b"%s", TOKEN)
    for path in (b"/v2", b"/v2/health/live", b"/metrics", b"/v2/models/none/infer"):
        head = b"POST %s HTTP/1.1\r\nconnection: close\r\n%s\r\n\r\n{}" % (path, lines)
        await send(target, head)
    assert await log.holding(TEXT) == []


@pytest.mark.parametrize("path", PATHS)
async def test_paths(target: Target, log: Log, path: str) -> None:
    """A token in the path or the query of a request is not in the log."""
    for verb in ("GET", "POST", TEXT):
        for text in (TEXT, quote(TEXT + "\xff"), TEXT + "\x01", "x" * 20000 + TEXT):
            line = f"{verb} {path.replace('TOKEN', text)} HTTP/1.1".encode("latin-1")
            await send(target, line + b"\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert await log.holding(TEXT) == []


async def test_bodies(target: Target, log: Log) -> None:
    """A token as a model's name, or in a message that cannot be read, is not in the log."""
    headers = target.headers("observe") | {"authorization": target.authorization("infer")}
    for body in (b'{"' + TOKEN, b'{"%s": 1}' % TOKEN, b'{"inputs": "%s"}' % TOKEN, TOKEN):
        async with Connection(f"http://{target.http}") as connection:
            await connection.ask("POST", f"/v2/models/{TEXT}/infer", body, headers)
            await connection.ask("POST", "/v2/models/tiny/infer", body, headers)
    named = b"\x0a" + bytes([len(TOKEN)]) + TOKEN  # field 1 of every request
    for rpc in rpcs():
        for message in (named, TOKEN):
            target.call(rpc.path, target.metadata("infer"), message=message)
    assert await log.holding(TEXT) == []


async def test_known_tokens(target: Target, log: Log) -> None:
    """The tokens that the server knows are not in the log, whether a call succeeds or fails."""
    for right, text in target.tokens.items():
        for rpc in rpcs():
            target.call(rpc.path, target.metadata(right))
        await target.ask("POST", "/v2/models/none/infer", headers=target.headers(right))
        assert await log.holding(text) == []


async def test_lines_are_limited(target: Target, log: Log) -> None:
    """A stranger cannot fill the log with malformed metadata, and no line has a traceback."""
    started = time.monotonic()
    calls = 0
    # Longer than the second whose lines an earlier test may have taken.
    while calls < 200 or time.monotonic() < started + 1.1:
        calls += 1
        call(target.grpc, "/grpc.health.v1.Health/Check", METADATA["latin-1"])
    lines = [line for line in await log.lines() if line["message"] == "metadata is not text"]
    assert 1 <= len(lines) <= 10 * (time.monotonic() - started + 2)
    assert not any("traceback" in line for line in lines)
