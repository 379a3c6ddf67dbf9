import asyncio

import pytest

from convoy.service.http import probe
from tests.harness.process import free_ports
from tests.harness.server import Serve


async def test_probe(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The health check of the image follows readiness.
    """
    async with serve(load=False) as running:
        port = str(running.server.http_port)
        assert await asyncio.to_thread(probe.main, [port]) == 1
        assert "answers 503" in capsys.readouterr().out
        await running.server.load()
        assert await asyncio.to_thread(probe.main, [port]) == 0


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A server that does not answer is not ready, and the probe says why.
    """
    port = str(free_ports(1)[0])
    assert probe.main([port]) == 1
    assert f"port {port} does not answer" in capsys.readouterr().out
