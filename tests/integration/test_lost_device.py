"""The watchdog: while a model can run nothing, the server is not ready."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from convoy.pb.inference import grpc_service_pb2 as pb
from tests.harness import tiny
from tests.harness.calls import NOT_SERVING, SERVING, health, infer_request, logits
from tests.harness.http import get
from tests.harness.server import Running, Serve

pytestmark = [pytest.mark.both_transports, pytest.mark.with_fronts]


class Device:
    """A switch that breaks and repairs the session of a model, as a lost device does."""

    def __init__(self, running: Running, patch: pytest.MonkeyPatch, model: str = "tiny") -> None:
        self._runner = running.server.registry.get(model).session.runner
        self._patch = patch
        running.server.watchdog.retry_s = 0.01

    def lose(self, error: type[Exception] = RuntimeError) -> None:
        def fail(items: Any) -> Any:
            raise error("CUDA failure 719: unspecified launch failure")

        self._patch.setattr(self._runner, "run", fail)

    def repair(self) -> None:
        self._patch.undo()


async def fail_once(running: Running, first: int = 3, model: str = "tiny") -> None:
    """Send a request that fails, with a reason that says nothing of the inside."""
    request = infer_request(first)
    request.model_name = model
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await running.inference.ModelInfer(request)
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert failed.value.details() == "the model failed on this input"


async def until_status(running: Running, name: str, status: int) -> None:
    """Wait until health reports this status."""
    async with asyncio.timeout(10):
        while await health(running.channel, name) != status:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
async def test_lost_device(
    running: Running, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """
    Health and readiness report a model that cannot run at all, and its recovery.
    """
    device = Device(running, monkeypatch)
    device.lose(error)
    await fail_once(running)
    for name in ("", "tiny", "inference.GRPCInferenceService"):
        await until_status(running, name, NOT_SERVING)
    status, answer = await get(f"{running.url}/v2/health/ready")
    assert status == 503
    assert "a model can no longer run" in str(answer)
    assert running.sample("convoy_model_ready", model="tiny", version="1") == 0
    assert not (await running.inference.ServerReady(pb.ServerReadyRequest())).ready
    assert (await get(f"{running.url}/v2/health/live"))[0] == 200
    device.repair()
    for name in ("", "tiny", "inference.GRPCInferenceService"):
        await until_status(running, name, SERVING)
    assert (await get(f"{running.url}/v2/health/ready"))[0] == 200
    assert running.sample("convoy_model_ready", model="tiny", version="1") == 1
    await running.inference.ModelInfer(infer_request(3))
    assert running.server.watchdog.checks == {}


@pytest.mark.one_process  # it looks at its fronts four times a second
async def test_recovery_without_a_front(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A model that runs again while no front process listens is in service once one does.
    """
    device = Device(running, monkeypatch)
    device.lose()
    await fail_once(running)
    await until_status(running, "", NOT_SERVING)
    running.server.lifecycle.cut_off = True
    device.repair()
    await running.until(lambda: not running.server.watchdog.checks)
    assert "no front process" in (await get(f"{running.url}/v2/health/ready"))[1]
    running.server.lifecycle.cut_off = False
    for name in ("", "tiny", "inference.GRPCInferenceService"):
        await until_status(running, name, SERVING)
    assert (await get(f"{running.url}/v2/health/ready"))[0] == 200


async def test_poison_is_no_lost_device(running: Running) -> None:
    """
    Any number of requests that the model fails on leaves the server ready.
    """
    for _ in range(20):
        await fail_once(running, tiny.POISON)
    await running.until(lambda: not running.server.watchdog.checks)
    assert await health(running.channel, "tiny") == SERVING
    assert (await get(f"{running.url}/v2/health/ready"))[0] == 200


async def test_lost_model_can_be_unloaded(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A lost model can be unloaded; the server is then ready again for the other models.
    """
    tiny.write(tmp_path, "other")
    async with serve(model_control_mode="explicit", load_model=["*"]) as running:
        Device(running, monkeypatch).lose()
        await fail_once(running)
        await until_status(running, "", NOT_SERVING)
        assert await health(running.channel, "other") == SERVING
        await running.inference.RepositoryModelUnload(
            pb.RepositoryModelUnloadRequest(model_name="tiny")
        )
        await until_status(running, "", SERVING)
        assert await health(running.channel, "tiny") == NOT_SERVING


async def test_lost_model_can_be_loaded_again(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A new version, which has a session of its own, replaces a lost one.
    """
    async with serve(model_control_mode="explicit", load_model=["*"]) as running:
        Device(running, monkeypatch).lose()
        await fail_once(running)
        await until_status(running, "tiny", NOT_SERVING)
        tiny.write(tmp_path)
        await running.inference.RepositoryModelLoad(
            pb.RepositoryModelLoadRequest(model_name="tiny")
        )
        await until_status(running, "tiny", SERVING)
        await until_status(running, "", SERVING)


@pytest.mark.parametrize("exits", [False, True])
async def test_fatal_by_setting(serve: Serve, monkeypatch: pytest.MonkeyPatch, exits: bool) -> None:
    """
    A lost model ends the process only if the operator chose so.
    """
    async with serve(exit_on_fatal_error=exits) as running:
        Device(running, monkeypatch).lose()
        await fail_once(running)
        await until_status(running, "", NOT_SERVING)
        assert running.server.failed is exits


@pytest.mark.parametrize("fails_above", [1, 3])
async def test_out_of_memory_in_a_batch(
    running: Running, monkeypatch: pytest.MonkeyPatch, fails_above: int
) -> None:
    """
    A batch that exhausts memory is run in parts: every request is answered.
    """
    session = running.server.registry.get("tiny").session
    run = session.run

    def run_if_small(batch: Any) -> Any:
        if len(batch) > fails_above:
            raise MemoryError("bad allocation")
        return run(batch)

    monkeypatch.setattr(session, "run", run_if_small)
    with running.device_held():
        calls = [running.inference.ModelInfer(infer_request(first)) for first in range(8)]
        await running.until(lambda: running.in_flight == 8)
    answers = await asyncio.gather(*calls)
    classes = [int(logits(answer).argmax()) for answer in answers]
    assert classes == [tiny.answer(first) for first in range(8)]
    assert await health(running.channel, "tiny") == SERVING
