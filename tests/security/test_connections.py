"""Connections that say nothing keep nobody out: a server closes them for those that ask."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.security.target import Target

SILENT = 1200
"""More than the connections that a server accepts by default."""

BEGINNINGS = [b"", b"GET / HTTP/1.1\r\nhost: a"]


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Let this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("sent", BEGINNINGS, ids=["nothing", "a part"])
async def test_silent_connections(target: Target, sent: bytes) -> None:
    """Probes, and requests of others, are answered beside many connections without a request."""
    host, port = target.http.rsplit(":", 1)
    with ExitStack() as stack:
        for number in range(SILENT):
            silent = stack.enter_context(socket.socket())
            silent.setblocking(False)
            await asyncio.get_running_loop().sock_connect(silent, (host, int(port)))
            silent.send(sent)
            if number % 100 == 0 or number > SILENT - 10:
                assert (await target.ask("GET", "/v2/health/live")).status == 200
        assert (await target.ask("GET", "/")).status == 200
