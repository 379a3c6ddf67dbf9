"""Many HTTP connections: silent ones leave for new ones, and probes are always answered."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, ExitStack

import pytest

from convoy.service.settings import Settings
from tests.harness.calls import INFER, check_error, classes, infer_body
from tests.harness.http import Connection, ask, request
from tests.harness.server import Running, Serve

PROBES = ("/v2/health/live", "/v2/health/ready", "/metrics")

MANY = 1100
"""More connections than the default limit, 1,024."""


def closings(running: Running) -> float:
    """Return how many connections were closed or refused because there were too many."""
    return running.sample("convoy_rejected_total", model="", reason="TOO_MANY_CONNECTIONS") or 0


async def closed(connection: Connection) -> bool:
    """Wait until the server closes the connection, and return whether it sent nothing before."""
    try:
        return await connection.rest() == b""
    except ConnectionError:
        return True


async def test_the_longest_silent_connection_leaves(serve: Serve) -> None:
    """
    A new connection is served at once; the one that was silent longest is closed for it.
    """
    async with serve(max_http_connections=2) as running:
        async with Connection(running.url) as first, Connection(running.url) as second:
            assert (await second.ask("GET", "/v2")).status == 200
            assert (await first.ask("GET", "/v2")).status == 200
            async with Connection(running.url) as third:
                assert (await third.ask("GET", "/v2")).status == 200
                assert await closed(second)
                assert (await first.ask("GET", "/v2")).status == 200
        assert closings(running) == 1


@pytest.mark.parametrize("sent", [b"", b"GET /v2 HTTP/1.1\r\nhost: te"], ids=["nothing", "a part"])
async def test_a_connection_without_a_whole_request_leaves(serve: Serve, sent: bytes) -> None:
    """
    Parts of a request do not keep a place.
    """
    async with serve(max_http_connections=1) as running, Connection(running.url) as first:
        await first.send(sent)
        async with Connection(running.url) as second:
            assert (await second.ask("GET", "/v2")).status == 200
            assert await closed(first)


async def test_a_client_that_reads_no_answers_leaves(serve: Serve) -> None:
    """
    A connection whose answers nobody reads is silent, too.
    """
    async with serve(max_http_connections=1) as running, Connection(running.url) as first:
        first._writer.transport.pause_reading()  # type: ignore[attr-defined]
        await first.send(request("GET", "/metrics") * 2000)

        async with asyncio.timeout(20):
            # Until then the connection is busy, and others may only probe.
            while (await ask("GET", f"{running.url}/v2")).status != 200:
                pass


async def test_busy_connections_stay(serve: Serve) -> None:
    """
    With all connections busy, others are told so, and probes are answered.
    """
    async with serve(max_http_connections=2) as running, AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(Connection(running.url)) for _ in range(2)]
        with running.device_held():
            for connection in busy:
                await connection.send(request("POST", INFER, infer_body(3)))
            await running.until(lambda: running.in_flight == 2)
            for path in PROBES:
                assert (await ask("GET", running.url + path)).status == 200
            async with Connection(running.url) as further:
                assert (await further.ask("GET", PROBES[0])).status == 200
                refused = await further.ask("POST", INFER, infer_body(3))
                check_error(refused, 429, "TOO_MANY_CONNECTIONS")
                assert refused.headers["retry-after"] == "1"
                assert await further.rest() == b""
            assert closings(running) == 1
        assert [classes(await connection.receive()) for connection in busy] == [[3], [3]]
        assert classes(await ask("POST", running.url + INFER, infer_body(3))) == [3]


async def test_share_of_an_address(serve: Serve) -> None:
    """
    An address with too many busy connections gets no further one; others do.
    """
    async with (
        serve(max_http_connections_per_address=1) as running,
        Connection(running.url) as first,
        Connection(running.url) as second,
    ):
        assert (await second.ask("GET", "/v2")).status == 200
        assert await closed(first)
        with running.device_held():
            await second.send(request("POST", INFER, infer_body(3)))
            await running.until(lambda: running.in_flight == 1)
            async with Connection(running.url) as third:
                assert await closed(third)
            async with Connection(running.url, source="127.0.0.2") as other:
                assert (await other.ask("GET", "/v2")).status == 200
        assert classes(await second.receive()) == [3]


async def test_more_silent_connections_than_places(running: Running) -> None:
    """
    Probes and calls are answered while a client holds more silent connections than there may be.
    """
    address = ("127.0.0.1", running.server.http_port)
    with ExitStack() as stack:
        for number in range(MANY):
            silent = stack.enter_context(socket.socket())
            silent.setblocking(False)
            await asyncio.get_running_loop().sock_connect(silent, address)
            if number % 50 == 0 or number > MANY - 10:
                assert (await ask("GET", running.url + PROBES[1])).status == 200
        assert classes(await ask("POST", running.url + INFER, infer_body(3))) == [3]
    assert closings(running) >= MANY - Settings().max_http_connections


ENDS = [
    b"",
    b"GET /v2 HTTP/1.1\r\nhost: te",
    b"\x16\x03\x01\x00\r\n\r\n",
    request("GET", "/v2"),
    request("GET", "/v2") * 100,
    request("POST", INFER, infer_body(3)),
    request("POST", INFER, infer_body(3))[:-1],
    request("POST", INFER, infer_body(3), {"content-length": "0", "transfer-encoding": "chunked"}),
]


async def test_places_come_back(serve: Serve) -> None:
    """
    Connections that end in any way, also before they are accepted, leave their places to others.
    """
    async with serve(max_http_connections=2) as running:
        for number, sent in enumerate(ENDS * 20):
            async with Connection(running.url) as connection:
                await connection.send(sent)
                # The client leaves at once, or while its request is worked on.
                for _ in range(number % 7):
                    await asyncio.sleep(0)
        async with AsyncExitStack() as stack:
            busy = [await stack.enter_async_context(Connection(running.url)) for _ in range(2)]
            with running.device_held():
                await running.until(lambda: running.in_flight == 0)
                for connection in busy:
                    await connection.send(request("POST", INFER, infer_body(3)))
                await running.until(lambda: running.in_flight == 2)
            assert [classes(await connection.receive()) for connection in busy] == [[3], [3]]


async def test_connections_that_are_reset_at_once(running: Running) -> None:
    """
    A client that resets its connection before it is accepted keeps nobody out.
    """
    for _ in range(50):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.connect(("127.0.0.1", running.server.http_port))
    assert (await ask("GET", running.url + PROBES[0])).status == 200
