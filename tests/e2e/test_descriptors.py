"""A server with few file descriptors, and more connections than that."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.harness import tiny
from tests.harness.server_process import ServerProcess

LIMITED = (
    "import resource, sys\n"
    "from convoy.__main__ import main\n"
    "resource.setrlimit(resource.RLIMIT_NOFILE, ({}, {}))\n"
    "sys.exit(main(sys.argv[1:]))\n"
)

CONNECTIONS = 400


@contextmanager
def started(folder: Path, soft: int, hard: int, *options: str) -> Iterator[ServerProcess]:
    """Start a server with these limits of open files."""
    tiny.write(folder)
    with ServerProcess(folder, *options, program=("-c", LIMITED.format(soft, hard))) as server:
        yield server


def flood(stack: ExitStack, address: str, server: ServerProcess) -> list[socket.socket]:
    """Open many connections that stay silent, and look between them whether the server is ready."""
    host, port = address.split(":")
    opened = []
    for number in range(CONNECTIONS):
        opened.append(stack.enter_context(socket.create_connection((host, int(port)), timeout=10)))
        if number % 20 == 0:
            assert '"ready"' in server.get("/v2/health/ready")
    return opened


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Let this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_limit_that_may_be_raised(tmp_path: Path) -> None:
    """
    The server raises its limit as far as it may: silent connections take no place of others.
    """
    with started(tmp_path, soft=100, hard=4096) as server, ExitStack() as stack:
        opened = flood(stack, server.url.removeprefix("http://"), server)
        metrics = server.get("/metrics")
        assert "process_max_fds 4096.0" in metrics
        assert "TOO_MANY_CONNECTIONS" not in metrics
        for one in opened:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(1)


@pytest.mark.parametrize("fronts", ["0", "2"])
def test_more_connections_than_descriptors(tmp_path: Path, fronts: str) -> None:
    """
    Floods of both ports leave the server ready, and its log short.
    """
    options = ("--front-processes", fronts)
    with started(tmp_path, 200, 200, *options) as server, ExitStack() as stack:
        flood(stack, server.url.removeprefix("http://"), server)
        flood(stack, server.address, server)
        flood(stack, server.url.removeprefix("http://"), server)
        assert "TOO_MANY_CONNECTIONS" in server.get("/metrics")
        assert len(server.log) < 100
        assert "traceback" not in str(server.log).lower()
    assert (
        len(
            server.find("connections cannot be accepted: raise the limit of open files (ulimit -n)")
        )
        <= 1
    )
