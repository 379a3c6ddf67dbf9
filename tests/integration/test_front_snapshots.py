"""The state that the engine sends to its fronts, and the models that it keeps for them."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry

from convoy import AsyncClient
from convoy.service.errors import StartError
from convoy.service.lifecycle import Lifecycle
from convoy.service.security.credentials import Credentials
from convoy.service.serving.fronts.front_processes import Fronts
from convoy.service.serving.fronts.front_session import Session
from convoy.service.serving.fronts.records import Blob
from convoy.service.serving.fronts.snapshot import Snapshot
from convoy.service.serving.served_model import ServedModel
from convoy.service.telemetry.metrics import Metrics
from tests.harness import tiny
from tests.harness.calls import infer_request
from tests.harness.descriptors import no_blob
from tests.harness.images import png
from tests.harness.server import Running, Serve

EXPLICIT = {"model_control_mode": "explicit", "load_model": ["*"]}


def make_fronts(running: Running) -> Fronts:
    """Return fronts of a server's models; their program does not exist."""
    return Fronts(
        1,
        running.server.registry,
        Lifecycle(),
        Metrics(CollectorRegistry()),
        Credentials(),
        None,
        arena_bytes=2**20,
        settings="{}",
        module="no_such_module",
    )


async def test_new_front(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The first snapshot of a front names only models that the engine holds for it.
    """
    sent: list[tuple[Snapshot, dict[int, ServedModel]]] = []
    monkeypatch.setattr(Session, "send_snapshot", lambda _, *what: sent.append(what))
    async with serve(**EXPLICIT) as running:
        fronts = make_fronts(running)
        fronts._publish()
        await running.server.control.unload("tiny")
        with pytest.raises(StartError):
            await fronts.start("127.0.0.1", 0)
        await fronts.stop()
    assert sent
    for snapshot, served in sent:
        assert {model.number for model in snapshot.models} == set(served)


async def test_change_without_a_free_descriptor(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Fronts that cannot be told of a change are told as soon as there are descriptors again.
    """
    async with serve(front_processes=1, **EXPLICIT) as running:
        registry, sent = running.server.registry, []
        with monkeypatch.context() as patch:
            no_blob(patch)
            tiny.write(tmp_path)
            loading = asyncio.create_task(running.server.control.load("tiny"))
            await running.until(lambda: list(registry.versions("tiny")) == [2])
            assert running.server.fronts
            running.server.fronts.renew_credentials()
            await asyncio.sleep(0.6)  # some more looks
            assert not loading.done()  # the front still answers with the version before it
            assert caplog.messages.count("cannot tell the front processes of a change yet") == 1
        monkeypatch.setattr(Session, "send_credentials", lambda _, what: sent.append(what))
        async with asyncio.timeout(10):
            await loading
        assert (await running.inference.ModelInfer(infer_request(3))).model_version == "2"
        await running.until(lambda: len(sent) == 1)


async def test_front_that_cannot_be_started_is_ended(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A front that gets no first message, as without a free descriptor, leaves no process.
    """

    def living() -> int:
        children = psutil.Process().children()
        return sum(child.status() != psutil.STATUS_ZOMBIE for child in children)

    async with serve(front_processes=1) as running:
        fronts = running.server.fronts
        assert fronts
        before = living()
        with monkeypatch.context() as patch:
            no_blob(patch)
            for front in fronts._fronts:
                assert front
                front.process.kill()
            await running.until(lambda: fronts._ended >= 3)
            await running.until(lambda: living() == before - 1)
        await running.until(lambda: fronts.serving)
        assert living() == before


async def test_unloaded_models_are_freed(serve: Serve, tmp_path: Path) -> None:
    """
    Nothing is kept of models that were unloaded or replaced.
    """
    async with serve(**EXPLICIT) as running:
        fronts = make_fronts(running)
        for _ in range(3):
            fronts._publish()
            tiny.write(tmp_path, name="tiny")
            await running.server.control.unload("tiny")
            await running.server.control.load("tiny")
        fronts._publish()
        await asyncio.sleep(0)
        gc.collect()
        await running.until(lambda: gc.collect() >= 0 and len(fronts._numbers) == 1)
        await fronts.stop()


async def test_processor_time(serve: Serve) -> None:
    """
    The page counts the processor time of the fronts, too.
    """
    async with serve(front_processes=1, transport="grpcio") as running:
        assert running.server.fronts is not None
        own_s = time.process_time()
        # To import its modules takes longer than that.
        assert running.server.history._read()["processor"][()] > own_s + 0.1


async def test_snapshot_that_cannot_be_read(serve: Serve) -> None:
    """
    A front that cannot read a snapshot ends, is replaced and counted, and the next one serves.
    """
    async with serve(front_processes=1, transport="grpcio") as running:
        fronts = running.server.fronts
        assert fronts is not None
        (session,) = fronts.sessions
        session._packets.send_blob(Blob.SNAPSHOT, b"{}")
        await running.until(lambda: fronts.restarts == 1 and fronts.serving)
        assert fronts.sessions != [session]
        async with AsyncClient(running.address) as client:
            await client.classify(png(3), model="tiny")


async def test_no_snapshot_that_can_be_read(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A server whose fronts cannot read the first snapshot does not start, rather than be silent.
    """

    def send(session: Session, *_: object) -> None:
        session._packets.send_blob(Blob.SNAPSHOT, b"{}")

    monkeypatch.setattr(Session, "send_snapshot", send)
    with pytest.raises(StartError, match="ended at its start"):
        async with serve(front_processes=1, transport="grpcio"):
            pass


@pytest.mark.parametrize("report", [b"{}", b"[]", b"no JSON"])
async def test_report_that_cannot_be_read(serve: Serve, report: bytes) -> None:
    """
    A front that reports nonsense is replaced, and counted; its counts would be missing otherwise.
    """
    async with serve(front_processes=1, transport="grpcio") as running:
        fronts = running.server.fronts
        assert fronts is not None
        (session,) = fronts.sessions
        session._take_report(Blob.REPORT, report)
        await running.until(lambda: fronts.restarts == 1 and fronts.serving)
        assert fronts.sessions != [session]
