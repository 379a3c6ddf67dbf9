"""Requests that stop being HTTP: they end their calls and connections, and leave no tracebacks."""

import asyncio
import logging

import pytest

from tests.harness.calls import INFER, classes, infer_body
from tests.harness.http import Connection, ask, request
from tests.harness.server import Running


async def test_counted(running: Running) -> None:
    """
    A request that states two lengths is counted, and the next connection is served.
    """
    headers = {"transfer-encoding": "chunked", "content-length": "5"}
    async with Connection(running.url) as connection:
        await connection.send(request("POST", INFER, headers=headers) + b"0\r\n\r\n")
        assert (await connection.rest()).startswith(b"HTTP/1.1 400 ")
    assert running.sample("convoy_rejected_total", model="", reason="INVALID_ARGUMENT") == 1
    assert classes(await ask("POST", running.url + INFER, infer_body(3))) == [3]


async def test_error_within_a_body(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """
    A body that stops being HTTP ends its call and its connection, without a traceback.
    """
    with caplog.at_level(logging.WARNING):
        async with Connection(running.url) as connection:
            await connection.send(request("POST", INFER, headers={"transfer-encoding": "chunked"}))
            await running.until(lambda: running.in_flight == 1)
            await connection.send(b"zz\r\n")
            assert (await connection.rest()).startswith(b"HTTP/1.1 400 ")
        await running.until(lambda: running.in_flight == 0)
    assert caplog.messages == []


@pytest.mark.parametrize("before", [False, True], ids=["together", "later"])
async def test_error_within_a_body_that_nobody_reads(
    running: Running, caplog: pytest.LogCaptureFixture, before: bool
) -> None:
    """
    The same where the request is answered without its body, before the error or beside it.
    """
    sent = request("GET", "/v2/health/live", headers={"transfer-encoding": "chunked"})
    with caplog.at_level(logging.WARNING):
        async with Connection(running.url) as connection:
            if before:
                await connection.send(sent)
                assert (await connection.receive()).status == 200
                await connection.send(b"zz\r\n")
                assert await connection.rest() == b""
            else:
                await connection.send(sent + b"zz\r\n")
                assert (await connection.rest()).startswith(b"HTTP/1.1 400 ")
    assert caplog.messages == []


async def test_requests_for_other_protocols(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A request that offers another protocol is answered in this one, without a line in the log.
    """
    for protocol in ("websocket", "h2c"):
        headers = {"connection": "Upgrade", "upgrade": protocol}
        with caplog.at_level(logging.WARNING):
            assert (await ask("GET", f"{running.url}/v2", headers=headers)).status == 200
    assert caplog.messages == []


@pytest.mark.parametrize("cut", [None, 5_000, 19_000])
async def test_long_headers(running: Running, cut: int | None) -> None:
    """
    Headers beyond the limit are refused, however the network cuts them into segments.
    """
    for length, status in ((15_000, 200), (20_000, 400)):
        data = request("GET", "/v2/health/live", headers={"cookie": "a" * length})
        async with Connection(running.url) as connection:
            if cut and cut < length:
                await connection.send(data[:cut])
                await asyncio.sleep(0.1)  # so that the parts arrive apart
                await connection.send(data[cut:])
            else:
                await connection.send(data)
            assert (await connection.receive()).status == status


@pytest.mark.parametrize("cut", [None, 9_000])
@pytest.mark.parametrize(
    ("length", "status"), [(6_000, 200), (15_000, 400), (30_000, 400)], ids=["few", "many", "long"]
)
async def test_extensions_and_trailers(
    running: Running, length: int, status: int, cut: int | None
) -> None:
    """
    Extensions and trailers of chunks count together, up to the limit of headers.
    """
    body, filler = infer_body(3), b"a" * length
    chunk = b"%x;x=%s\r\n%s\r\n" % (len(body), filler, body)
    head = request("POST", INFER, headers={"transfer-encoding": "chunked"})
    data = head + chunk + b"0\r\ntrailer: %s\r\n\r\n" % filler
    async with Connection(running.url) as connection:
        await connection.send(data[:cut])
        if cut:
            await asyncio.sleep(0.1)  # so that the parts arrive apart
            await connection.send(data[cut:])
        assert (await connection.receive()).status == status


async def test_many_small_chunks(running: Running) -> None:
    """
    The frames of chunks do not count: a body may come in as many as its client likes.
    """
    body = infer_body(3) + b" " * 8_000
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    head = request("POST", INFER, headers={"transfer-encoding": "chunked"})
    async with Connection(running.url) as connection:
        await connection.send(head + chunks + b"0\r\n\r\n")
        answer = await connection.receive()
        assert classes(answer) == [3]
