"""A process without a free file descriptor still answers probes, and says once what is missing."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import pytest

from convoy.service.http.acceptor import RESERVE
from tests.harness.http import request
from tests.harness.server import Running, Serve

MESSAGE = "cannot accept connections: raise the limit of open files (ulimit -n)"


@contextmanager
def no_descriptors() -> Iterator[list[int]]:
    """Take every free descriptor of this process; the block may close some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(number) for number in os.listdir("/proc/self/fd"))
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        yield held
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in held:
            os.close(one)


class Clients:
    """Sockets that were made while there were descriptors; each connects once, and stays open."""

    def __init__(self, running: Running, count: int) -> None:
        self._address = ("127.0.0.1", running.server.http_port)
        self._loop = asyncio.get_running_loop()
        self._made = [socket.socket() for _ in range(count)]
        for one in self._made:
            one.setblocking(False)
        self._unused = iter(self._made)

    async def connect(self) -> socket.socket:
        """Connect the next one."""
        client = next(self._unused)
        await self._loop.sock_connect(client, self._address)
        return client

    async def ask(self, path: str) -> int:
        """Return the status of an answer on the next one."""
        async with asyncio.timeout(20):
            client = await self.connect()
            await self._loop.sock_sendall(client, request("GET", path))
            return int((await self._loop.sock_recv(client, 1 << 16)).split()[1])

    def close(self) -> None:
        """Close all."""
        for one in self._made:
            one.close()


@pytest.fixture
async def clients(running: Running) -> AsyncIterator[Clients]:
    """Many clients of the server."""
    made = Clients(running, 5 * RESERVE)
    yield made
    made.close()


async def test_probes_without_descriptors(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Health and metrics are answered, one after the other; other requests are told to come later.
    """
    with caplog.at_level(logging.WARNING), no_descriptors():
        assert await clients.ask("/v2") == 429
        for _ in range(RESERVE):
            for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):
                assert await clients.ask(path) == 200
    assert caplog.messages == [MESSAGE]


async def test_silent_connections_without_descriptors(clients: Clients) -> None:
    """
    Silent connections leave for those that come, which may do everything then.
    """
    await clients.connect()
    assert await clients.ask("/v2") == 200  # the one before has been accepted, too
    with no_descriptors():
        for _ in range(RESERVE):
            await clients.connect()
            assert await clients.ask("/v2") == 200


async def test_wait_for_a_descriptor(
    running: Running, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A probe that comes when even the reserve is used up is answered once there is a descriptor.
    """
    with caplog.at_level(logging.WARNING), no_descriptors() as held:
        acceptor = running.server.http._acceptor
        assert acceptor is not None
        # Another part of the process was faster.
        while acceptor._reserve:
            held.append(acceptor._reserve.pop())
        waiting = asyncio.create_task(clients.ask("/v2/health/live"))
        await running.until(lambda: acceptor._resume is not None)
        assert not waiting.done()
        os.close(held.pop())
        assert await waiting == 200
    assert caplog.messages == [MESSAGE]


@pytest.mark.parametrize(("wanted", "expected"), [(1024, 128), (100, 100)])
async def test_limit_below_the_descriptors(
    serve: Serve, caplog: pytest.LogCaptureFixture, wanted: int, expected: int
) -> None:
    """
    HTTP takes half of the descriptors at most; a server that is to take more says so once.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        async with serve(max_http_connections=wanted, load=False):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    lowered = [vars(r)["limit"] for r in caplog.records if "max_http" in r.getMessage()]
    assert lowered == ([expected] if expected < wanted else [])
