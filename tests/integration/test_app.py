"""The life of a server in this process; tests/e2e runs it in a process, with signals."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from convoy.service.app import Server
from convoy.service.errors import StartError
from convoy.service.lifecycle import Phase
from convoy.service.settings import Settings
from tests.harness import tiny


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server with a tiny model, which does not listen yet."""
    tiny.write(tmp_path)
    yield Server(
        Settings(
            model_repository=str(tmp_path),
            host="127.0.0.1",
            grpc_port=0,
            http_port=0,
            graph_cache="",
            exit_on_fatal_error=True,
        )
    )
    gc.unfreeze()


async def until_ready(server: Server) -> None:
    """Wait until the server is ready."""
    async with asyncio.timeout(10):
        while not server.lifecycle.ready:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_serves_until_a_stop_is_requested(server: Server) -> None:
    """
    The server loads, serves, drains and stops; only the first request to stop counts.
    """
    serving = asyncio.create_task(server.serve())
    await until_ready(server)
    assert not serving.done()
    server.request_stop(0.0)
    server.request_stop(60.0)
    async with asyncio.timeout(10):
        await serving
    assert server.lifecycle.phase is Phase.REFUSING
    assert not server.failed


async def test_ready_line(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """
    The line of a server that is ready states where its page, its metrics and gRPC are.
    """
    caplog.set_level("INFO")
    serving = asyncio.create_task(server.serve())
    await until_ready(server)
    (ready,) = (vars(record) for record in caplog.records if record.message == "ready")
    site = f"http://localhost:{server.http_port}"
    assert ready["page"] == f"{site}/"
    assert ready["docs"] == f"{site}/docs"
    assert ready["metrics"] == f"{site}/metrics"
    assert ready["grpc"] == f"localhost:{server.grpc_port}"
    server.request_stop(0.0)
    await serving


async def test_line_of_a_loaded_model(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """
    The line of a model that is loaded states the threads of each of its runs under that name.
    """
    caplog.set_level("INFO")
    serving = asyncio.create_task(server.serve())
    await until_ready(server)
    (loaded,) = (vars(record) for record in caplog.records if record.message == "model loaded")
    (model,) = server.registry.models()
    assert loaded["threads_per_run"] == model.session.cores
    assert "cores" not in loaded
    server.request_stop(0.0)
    await serving


@pytest.mark.parametrize("exists", [True, False])
async def test_empty_repository(tmp_path: Path, exists: bool) -> None:
    """
    A server without a model says how to make one.
    """
    folder = tmp_path / "models"
    if exists:
        folder.mkdir()
    settings = Settings(
        model_repository=str(folder), host="127.0.0.1", grpc_port=0, http_port=0, graph_cache=""
    )
    with pytest.raises(StartError, match=r"; create a model with `convoy export lenet5` or"):
        await Server(settings).serve()


async def test_stop_before_models_are_loaded(server: Server) -> None:
    """
    A server that is asked to stop while it loads has nothing to drain.
    """
    server.request_stop(60.0)
    async with asyncio.timeout(10):
        await server.serve()
    assert server.lifecycle.phase is Phase.LOADING


async def test_stop_after_a_lost_model(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With `exit_on_fatal_error` a lost model stops the server, which then has failed.
    """
    serving = asyncio.create_task(server.serve())
    await until_ready(server)
    model = server.registry.get("tiny")
    monkeypatch.setattr(model.session, "can_run", lambda: False)
    server.watchdog.check(model)
    async with asyncio.timeout(10):
        await serving
    assert server.failed
