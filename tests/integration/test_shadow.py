"""Shadow versions: compared on real requests, seen by no client, and promoted within bounds."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
from google.protobuf import json_format

from convoy import AsyncClient
from convoy.__main__ import main
from convoy.artifact.manifest import Memory, OutputTensor, Preprocessing
from convoy.pb.convoy.v1 import shadow_pb2 as pb
from convoy.pb.convoy.v1.shadow_pb2_grpc import ShadowServiceStub
from convoy.pb.inference import grpc_service_pb2 as inference
from convoy.service.call import Request
from convoy.service.serving.monitoring import parts
from convoy.service.serving.registry import ModelEntry
from tests.harness import tiny
from tests.harness.calls import infer_request
from tests.harness.http import Answer, Connection
from tests.harness.images import png
from tests.harness.server import Running, Serve

CONTROL: dict[str, Any] = {"model_control_mode": "explicit", "load_model": ["*"]}
"""Settings of a server that loads versions and shadows by request."""

DISAGREEING = 7
"""First pixel of the one image that the disagreeing version gives another class."""

BOUNDS = {"min_images": 10, "min_agreement": 0.5, "max_failures": 0.5, "max_p99_ratio": 0.0}
"""Bounds that a dozen images can meet."""


def disagreeing() -> Any:
    """The tiny graph with another class for one image."""
    return tiny.graph(scores={DISAGREEING: [0.0, 0.0, 0.0, 0.0, 10.0]})


@asynccontextmanager
async def shadowed(
    serve: Serve, tmp_path: Path, *, share: float = 1.0, model: Any = None, **changes: Any
) -> AsyncIterator[Running]:
    """A server of version 1, with version 2 as its shadow."""
    async with serve(**CONTROL, **changes) as running:
        tiny.write(tmp_path, model=model)
        await start(running, share=share)
        yield running


def stub(running: Running) -> Any:
    return ShadowServiceStub(running.channel)


async def start(running: Running, version: int = 2, share: float = 1.0) -> pb.Shadow:
    asked = pb.StartShadowRequest(model="tiny", version=version, share=share)
    return (await stub(running).StartShadow(asked)).shadow


async def stop(running: Running) -> None:
    await stub(running).StopShadow(pb.StopShadowRequest(model="tiny"))


async def shadow_of(running: Running) -> pb.Shadow:
    return (await stub(running).GetShadow(pb.GetShadowRequest(model="tiny"))).shadow


async def promote(running: Running, version: int = 2, **bounds: Any) -> pb.Shadow:
    asked = pb.PromoteShadowRequest(model="tiny", version=version, **(BOUNDS | bounds))
    return (await stub(running).PromoteShadow(asked)).shadow


async def load(running: Running, **config: Any) -> None:
    asked = inference.RepositoryModelLoadRequest(model_name="tiny")
    if config:
        asked.parameters["config"].string_param = json.dumps(config)
    await running.inference.RepositoryModelLoad(asked)


async def ask(running: Running, first: int = 3, version: str = "") -> str:
    """Send an image; return the version that answered."""
    asked = infer_request(first)
    asked.model_version = version
    return str((await running.inference.ModelInfer(asked)).model_version)


async def send(running: Running, *firsts: int) -> None:
    """Send images one after the other, and wait until the shadow has seen each."""
    for first in firsts:
        before = seen(running)
        assert await ask(running, first) == "1"
        await running.until(partial(_has_changed, running, before))


def _has_changed(running: Running, before: float) -> bool:
    return seen(running) > before


async def failure(call: Any) -> tuple[str, str]:
    """Reason and message of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    trailing = dict(failed.value.trailing_metadata() or ())
    return str(trailing["error-reason"]), failed.value.details() or ""


def damage(tmp_path: Path, version: int) -> None:
    """Replace the graph of a version by one that cannot be read."""
    (tmp_path / "tiny" / str(version) / "model.onnx").write_bytes(b"damaged")


async def index(running: Running) -> dict[str, tuple[str, str]]:
    """State and reason of each version."""
    answer = await running.inference.RepositoryIndex(inference.RepositoryIndexRequest())
    return {model.version: (model.state, model.reason) for model in answer.models}


def images(running: Running, outcome: str, version: str = "2") -> float:
    labels = {"model": "tiny", "version": version, "outcome": outcome}
    return running.sample("convoy_shadow_images_total", **labels) or 0.0


def seen(running: Running) -> float:
    return sum(images(running, one) for one in ("agreed", "disagreed", "failed", "dropped"))


@pytest.mark.both_transports
@pytest.mark.with_fronts
async def test_comparison(serve: Serve, tmp_path: Path) -> None:
    """
    The answers of both versions are compared, and exported with their intervals; clients get those
    of the version that serves.
    """
    async with shadowed(serve, tmp_path, model=disagreeing()) as running:
        await send(running, *range(9), 3)
        found = await shadow_of(running)
        assert (found.version, found.serving_version, found.share) == (2, 1, 1.0)
        assert (found.agreement.value, found.agreement.count) == (0.9, 10)
        assert found.agreement.low == pytest.approx(0.596, abs=0.001)
        assert found.agreement.high == pytest.approx(0.982, abs=0.001)
        assert (found.failures.value, found.failures.count) == (0.0, 10)
        assert found.largest_probability_change == pytest.approx(0.9998, abs=1e-3)
        assert found.probability_change.value == pytest.approx(0.1, abs=1e-3)
        assert found.kl_divergence.value == pytest.approx(1.0, abs=0.01)
        assert 0 < found.run_p50_seconds.value <= found.run_p99_seconds.value
        assert found.serving_run_p99_seconds.count == found.run_p99_seconds.count == 10
        assert images(running, "agreed") == 9
        assert images(running, "disagreed") == 1
        labels = {"model": "tiny", "version": "2", "measure": "agreement"}
        assert running.sample("convoy_shadow_estimate", bound="value", **labels) == 0.9
        assert running.sample("convoy_shadow_samples", **labels) == 10
        assert running.sample("convoy_shadow_share", model="tiny", version="2") == 1.0


@pytest.mark.with_fronts
async def test_no_client_reaches_a_shadow(serve: Serve, tmp_path: Path) -> None:
    """
    A shadow is not the newest version, cannot be asked for, and is in no list of what serves.
    """
    async with shadowed(serve, tmp_path) as running:
        assert await ask(running) == "1"
        reason, message = await failure(ask(running, version="2"))
        assert (reason, message) == (
            "MODEL_NOT_READY",
            "model tiny version 2 is not ready: shadow",
        )
        assert await index(running) == {"1": ("READY", ""), "2": ("UNAVAILABLE", "shadow")}
        answer = await running.inference.ModelMetadata(inference.ModelMetadataRequest(name="tiny"))
        assert list(answer.versions) == ["1"]
        assert running.sample("convoy_model_ready", model="tiny", version="2") is None
        # Its runs are not those of the model.
        await running.until(lambda: seen(running) == 1)
        assert running.sample("convoy_batch_size_count", model="tiny") == 1


async def test_only_the_default_version_is_compared(serve: Serve, tmp_path: Path) -> None:
    """
    Requests for an older version, beside the newest that serves, are not repeated.
    """
    tiny.write(tmp_path)
    async with serve(**CONTROL, version_policy={"*": "all"}) as running:
        tiny.write(tmp_path)
        reason, message = await failure(start(running, version=2))
        assert (reason, message) == (
            "INVALID_ARGUMENT",
            "model tiny version 2 serves; a shadow must be another version",
        )
        await start(running, version=3)
        await ask(running, version="1")
        await ask(running)
        await running.until(lambda: images(running, "agreed", "3") == 1)
        assert (await shadow_of(running)).serving_version == 2


async def test_share(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A shadow gets its share of the requests, which a second request changes without a loss.
    """
    drawn = iter([0.09, 0.1, 0.5, 0.99, 0.49])
    monkeypatch.setattr("random.random", lambda: next(drawn))
    async with shadowed(serve, tmp_path, share=0.1) as running:
        for _ in range(2):
            await ask(running)
        await running.until(lambda: seen(running) == 1)
        assert (await start(running, share=0.5)).agreement.count == 1
        for _ in range(3):
            await ask(running)
        await running.until(lambda: seen(running) == 2)
        loads = {"model": "tiny", "outcome": "loaded"}
        assert running.sample("convoy_model_loads_total", **loads) == 2


async def test_busy_device(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A request that waits too long, or finds a full batch waiting, is dropped and counted.
    """
    async with shadowed(serve, tmp_path) as running:
        monkeypatch.setattr("convoy.service.serving.shadows.shadow.PATIENCE_S", -1.0)
        await ask(running)
        await running.until(lambda: images(running, "dropped") == 1)
        monkeypatch.setattr("convoy.service.serving.shadows.shadow.PATIENCE_S", 60.0)
        shadow = running.server.shadows.find("tiny")
        answered = Request(1, outputs={"probabilities": np.eye(5, dtype=np.float32)[3:4]})
        with running.device_held():
            # One runs, eight are a full batch, and one is too many.
            for _ in range(10):
                shadow.repeat(answered, tiny.pixels(3))
                await asyncio.sleep(0)
            assert images(running, "dropped") == 2
            # The memory of a front's request is copied only if there is room.
            answered.item = tiny.pixels(3).view(Uncopied)
            observe = running.server.shadows.observe_slot
            assert not observe(answered, shadow.serving, lambda repeated: None)
            assert images(running, "dropped") == 3
        await running.until(lambda: images(running, "agreed") == 9)
        assert (await shadow_of(running)).dropped_image_count == 3


class Uncopied(np.ndarray[Any, Any]):
    """A tensor that nobody may copy."""

    def copy(self, order: Any = "C") -> Uncopied:
        raise AssertionError


async def test_real_requests_go_first(serve: Serve, tmp_path: Path) -> None:
    """
    A shadow waits while any request holds a place, even one whose images are being decoded.
    """
    async with shadowed(serve, tmp_path) as running:
        server = running.server
        serving, shadow = server.registry.get("tiny"), server.shadows.find("tiny")
        held = Request()
        serving.reserve(held, 1)
        await ask(running)
        await asyncio.sleep(0.05)
        assert (shadow.model.queue_depth, seen(running)) == (1, 0)
        serving.withdraw(held)
        await ask(running)
        await running.until(lambda: images(running, "agreed") == 2)


async def test_failing_graph(serve: Serve, tmp_path: Path) -> None:
    """
    Failures of a shadow are counted, reach no client, and keep it from being promoted.
    """
    async with shadowed(serve, tmp_path, model=tiny.graph(poison=5)) as running:
        await send(running, 6, 3, 7)
        found = await shadow_of(running)
        assert found.failures.value == pytest.approx(2 / 3)
        assert found.failures.count == 3
        assert found.agreement.count == 1
        reason, message = await failure(promote(running, min_images=1))
        assert reason == "PROMOTION_REFUSED"
        assert "max_failures: 0.6667 of 3 images failed" in message
        assert await ask(running) == "1"


async def test_scores_that_are_not_finite(serve: Serve, tmp_path: Path) -> None:
    """
    A shadow whose scores are not finite has failed.
    """
    nan = tiny.graph(scores={6: [float("nan")] * 5})
    async with shadowed(serve, tmp_path, model=nan) as running:
        await ask(running, 6)
        await running.until(lambda: images(running, "failed") == 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": ("a", "b", "c", "d", "e")}, "its labels differ in name or order"),
        (
            {
                "preprocessing": Preprocessing(
                    color="L", resize_px=8, crop_height_px=4, crop_width_px=4
                )
            },
            "it preprocesses images in another way",
        ),
        ({"max_batch_size": 4}, "it takes at most 4 images in a request, not 8"),
        (
            {"outputs": (OutputTensor(name="probabilities", kind="probabilities"),)},
            "it has no output 'logits'",
        ),
        (
            {
                "outputs": (
                    OutputTensor(name="logits", kind="logits", dtype="float16"),
                    OutputTensor(name="probabilities", kind="probabilities"),
                )
            },
            "its output 'logits' has another type, shape or kind of scores",
        ),
    ],
)
async def test_mismatch(serve: Serve, tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    """
    A version that cannot answer every request to the one that serves cannot be its shadow; that it
    is not ready is nobody's alarm.
    """
    async with serve(**CONTROL) as running:
        tiny.write(tmp_path, **changes)
        found = await failure(start(running))
        message = f"model tiny version 2 cannot be a shadow of version 1: {reason}"
        assert found == ("SHADOW_MISMATCH", message)
        assert await ask(running) == "1"
        assert await failure(shadow_of(running)) == ("NO_SHADOW", "model 'tiny' has no shadow")
        states = await index(running)
        assert states["2"] == ("UNAVAILABLE", f"SHADOW_MISMATCH: {message}")
        assert running.sample("convoy_model_ready", model="tiny", version="2") is None


async def test_one_by_one(serve: Serve, tmp_path: Path) -> None:
    """
    A graph that takes single images only, which its manifest does not tell, cannot be a shadow.
    """
    async with serve(**CONTROL) as running:
        single = tiny.graph()
        single.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        tiny.write(tmp_path, model=single)
        reason, message = await failure(start(running))
        assert reason == "SHADOW_MISMATCH"
        assert message.endswith(": it takes at most 1 images in a request, not 8")
        assert await ask(running) == "1"


async def test_memory_budget(serve: Serve, tmp_path: Path) -> None:
    """
    A shadow counts in the memory budget, and one that does not fit is refused.
    """
    memory = Memory(batch_size=8, weights_bytes=4000, arena_peak_bytes=1000)
    async with serve(**CONTROL, memory_budget=10_000) as running:
        tiny.write(tmp_path, memory=memory.model_copy(update={"weights_bytes": 4001}))
        reason, _ = await failure(start(running))
        assert reason == "MEMORY_BUDGET_EXCEEDED"
        assert await ask(running) == "1"
        tiny.write(tmp_path, memory=memory)
        await start(running, version=3)
        # Both are loaded during the change of the shadow.
        tiny.write(tmp_path, memory=memory)
        assert (await failure(start(running, version=4)))[0] == "MEMORY_BUDGET_EXCEEDED"
        assert (await shadow_of(running)).version == 3
        tiny.write(tmp_path, "other", memory=memory)
        asked = inference.RepositoryModelLoadRequest(model_name="other")
        reason, _ = await failure(running.inference.RepositoryModelLoad(asked))
        assert reason == "MEMORY_BUDGET_EXCEEDED"


@pytest.mark.with_fronts
async def test_promotion(serve: Serve, tmp_path: Path) -> None:
    """
    A shadow that meets the bounds serves alone, without being loaded again or losing a request; one
    request rolls back.
    """
    async with shadowed(serve, tmp_path) as running:
        reason, message = await failure(promote(running))
        assert reason == "PROMOTION_REFUSED"
        assert message == (
            "model tiny version 2 is not promoted: min_images: 0 of 10 images were compared"
        )
        assert (await failure(promote(running, version=3)))[0] == "NO_SHADOW"
        await send(running, *[3] * 10)
        versions: list[str] = []
        done = asyncio.Event()

        async def keep_asking() -> None:
            while not done.is_set():
                versions.append(await ask(running))

        asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
        judged = await promote(running, max_failures=1.0)
        assert (judged.version, judged.agreement.value) == (2, 1.0)
        promoted_at = len(versions)
        # Those in flight may have been answered by the version before.
        later = promoted_at + len(asking)
        await running.until(lambda: len(versions) > later)
        done.set()
        await asyncio.gather(*asking)
        assert set(versions[later:]) == {"2"}
        loads = {"model": "tiny", "outcome": "loaded"}
        assert running.sample("convoy_model_loads_total", **loads) == 2
        assert (await index(running))["1"] == ("UNAVAILABLE", "unloaded")
        assert (await failure(shadow_of(running)))[0] == "NO_SHADOW"
        # Its batches count now, and it has the turns of any model.
        before = running.sample("convoy_batch_size_count", model="tiny") or 0
        await ask(running)
        assert running.sample("convoy_batch_size_count", model="tiny") == before + 1
        await load(running, version_policy={"specific": {"versions": [1]}})
        assert await ask(running) == "1"


async def test_configuration(serve: Serve, tmp_path: Path) -> None:
    """
    The configuration of a load starts and stops a shadow; one that a client read keeps it.
    """
    parameters = {
        "shadow_version": {"string_value": "2"},
        "shadow_share": {"string_value": "0.5"},
    }
    async with serve(**CONTROL) as running:
        tiny.write(tmp_path)
        await load(running, parameters=parameters)
        assert (await shadow_of(running)).share == 0.5
        asked = inference.ModelConfigRequest(name="tiny")
        config = (await running.inference.ModelConfig(asked)).config
        assert config.parameters["shadow_version"].string_value == "2"
        await load(running, **json.loads(_json(config)))
        assert (await shadow_of(running)).share == 0.5
        assert await ask(running) == "1"
        await load(running, max_batch_size=4, version_policy={"specific": {"versions": [1]}})
        assert (await failure(shadow_of(running)))[0] == "NO_SHADOW"
        for wrong in (
            {"shadow_version": {"string_value": "two"}},
            {"shadow_version": {"string_value": "0"}},
            *(
                {"shadow_version": {"string_value": text}}
                for text in ("+2", " 2", "2_0", "\N{ARABIC-INDIC DIGIT TWO}")
            ),
            {"shadow_version": {"string_value": "9" * 4000}},
            parameters | {"shadow_share": {"string_value": "\N{ARABIC-INDIC DIGIT ONE}"}},
            {"shadow_share": {"string_value": "0.5"}},
            parameters | {"shadow_share": {"string_value": "nan"}},
            parameters | {"provider": {"string_value": "other"}},
        ):
            reason, message = await failure(load(running, parameters=wrong))
            assert reason == "INVALID_ARGUMENT"
            assert len(message) < 200
        reason, message = await failure(
            load(running, parameters={"shadow_version": {"string_value": "1"}})
        )
        assert reason == "INVALID_ARGUMENT"
        assert message.startswith("version_policy selects version 1, which is to be a shadow")
        contradiction = {"specific": {"versions": [1, 2]}}
        reason, message = await failure(
            load(running, parameters=parameters, version_policy=contradiction)
        )
        assert reason == "INVALID_ARGUMENT"
        assert message == (
            "version_policy selects version 2, which is to be a shadow; leave it out"
        )


def _json(message: Any) -> str:
    return json_format.MessageToJson(message, preserving_proto_field_name=True)


async def test_repository_changes(serve: Serve, tmp_path: Path) -> None:
    """
    A shadow outlives newer versions and its own files; the versions that serve stay the same.
    """
    async with shadowed(serve, tmp_path) as running:
        tiny.write(tmp_path)
        await start(running, share=0.5)
        assert await ask(running) == "1"
        shutil.rmtree(tmp_path / "tiny" / "2")
        assert (await start(running, share=1.0)).share == 1.0
        found = await failure(start(running, version=4))
        assert found == ("MODEL_NOT_FOUND", "the repository has no version 4 of model 'tiny'")
        assert (await shadow_of(running)).version == 2
        # Another shadow replaces it.
        await start(running, version=3)
        assert (await shadow_of(running)).version == 3
        assert await index(running) == {"1": ("READY", ""), "3": ("UNAVAILABLE", "shadow")}
        # A load without a configuration serves what the server's settings select.
        await load(running)
        assert await ask(running) == "3"
        assert (await failure(shadow_of(running)))[0] == "NO_SHADOW"


async def test_files_of_the_version_that_serves(serve: Serve, tmp_path: Path) -> None:
    """
    Whatever becomes of them, a shadow starts, changes its share and stops, and the version serves.
    """
    async with serve(**CONTROL) as running:
        tiny.write(tmp_path)
        damage(tmp_path, 1)
        await start(running)
        await start(running, share=0.5)
        shutil.rmtree(tmp_path / "tiny" / "1")
        assert (await start(running, share=0.4)).share == pytest.approx(0.4)
        await stop(running)
        await start(running)
        assert await ask(running) == "1"
        assert (await index(running))["1"] == ("READY", "")


async def test_promotion_of_what_was_compared(serve: Serve, tmp_path: Path) -> None:
    """
    The model that was compared serves, even if its files have changed meanwhile.
    """
    async with shadowed(serve, tmp_path) as running:
        await send(running, *[3] * 10)
        damage(tmp_path, 2)
        await promote(running, max_failures=1.0)
        assert await ask(running) == "2"
        loads = {"model": "tiny", "outcome": "loaded"}
        assert running.sample("convoy_model_loads_total", **loads) == 2


@pytest.mark.parametrize("changes", [{}, {"max_batch_size": 4}])
async def test_another_shadow_that_fails(
    serve: Serve, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """
    The shadow at work stays, with its comparison, if another one cannot take its place.
    """
    async with shadowed(serve, tmp_path) as running:
        await send(running, 3)
        tiny.write(tmp_path, **changes)
        if not changes:
            damage(tmp_path, 3)
        expected = "SHADOW_MISMATCH" if changes else "ARTIFACT_INVALID"
        parameters = {"shadow_version": {"string_value": "3"}}
        policy = {"specific": {"versions": [1]}}
        for failing in (
            start(running, version=3),
            load(running, version_policy=policy, parameters=parameters),
        ):
            assert (await failure(failing))[0] == expected
            found = await shadow_of(running)
            assert (found.version, found.agreement.count) == (2, 1)
            asked = inference.ModelConfigRequest(name="tiny")
            config = (await running.inference.ModelConfig(asked)).config
            assert config.parameters["shadow_version"].string_value == "2"
            assert running.sample("convoy_model_ready", model="tiny", version="3") is None


@asynccontextmanager
async def in_order(running: Running, *calls: Any) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Tasks that wait for the model, in this order."""
    async with running.server.registry.locked("tiny") as entry:
        tasks = []
        for call in calls:
            holders = entry.holders
            tasks.append(asyncio.ensure_future(call))
            await running.until(partial(_is_held_by_more, entry, holders))
    await asyncio.wait(tasks)
    yield tasks


def _is_held_by_more(entry: ModelEntry, holders: int) -> bool:
    return entry.holders > holders


async def test_changes_after_a_load(serve: Serve, tmp_path: Path) -> None:
    """
    A change of a shadow does not undo a load before it that was still in progress.
    """
    async with shadowed(serve, tmp_path) as running:
        tiny.write(tmp_path)
        policy = {"specific": {"versions": [3]}}
        parameters = {"shadow_version": {"string_value": "2"}}
        loading = load(running, version_policy=policy, parameters=parameters)
        async with in_order(running, loading, start(running, share=0.5)) as (first, second):
            await first
            assert (await second).share == 0.5
        assert await ask(running) == "3"
        loading = load(running, version_policy={"specific": {"versions": [1]}})
        async with in_order(running, loading, stop(running)) as (first, second):
            await first
            assert (await failure(second))[0] == "NO_SHADOW"
        assert await ask(running) == "1"


async def test_changes_around_a_promotion(serve: Serve, tmp_path: Path) -> None:
    """
    A change decided before a promotion does not undo it; a shadow that has ended is not promoted.
    """
    async with shadowed(serve, tmp_path) as running:
        await send(running, *[3] * 10)
        bounds: dict[str, Any] = {"max_failures": 1.0}
        async with in_order(running, promote(running, **bounds), start(running, share=0.5)) as (
            first,
            second,
        ):
            await first
            assert (await failure(second))[0] == "INVALID_ARGUMENT"
        assert await ask(running) == "2"
        await load(running, version_policy={"specific": {"versions": [1]}})
        await start(running)
        await send(running, *[3] * 10)
        tiny.write(tmp_path)
        loading = load(running, version_policy={"specific": {"versions": [3]}})
        async with in_order(running, loading, promote(running, **bounds)) as (first, second):
            await first
            assert (await failure(second))[0] == "NO_SHADOW"
        assert await ask(running) == "3"


async def test_promotion_beside_a_newer_version(serve: Serve, tmp_path: Path) -> None:
    """
    The shadow of the newest of several versions serves at once, while all of them finish requests.
    """
    for _ in range(2):
        tiny.write(tmp_path)
    async with serve(**CONTROL, version_policy={"*": "specific:1:3"}) as running:
        await start(running)
        for _ in range(10):
            await ask(running)
        await running.until(lambda: seen(running) == 10)
        held = running.server.registry.get("tiny", "1")
        held.hold()
        promoting = asyncio.ensure_future(promote(running, max_failures=1.0))
        await running.until(lambda: set(running.server.registry.versions("tiny")) == {2})
        assert await ask(running) == "2"
        held.release()
        await promoting


async def test_a_version_that_serves_becomes_a_shadow(serve: Serve, tmp_path: Path) -> None:
    """
    One request lets an older version serve, and compares the newer one with it.
    """
    tiny.write(tmp_path)
    async with serve(**CONTROL) as running:
        assert await ask(running) == "2"
        # It would not be asked whether the older version is to serve.
        parameters = {"shadow_version": {"string_value": "2"}}
        reason, message = await failure(load(running, parameters=parameters))
        assert reason == "INVALID_ARGUMENT"
        assert message.startswith(
            "version_policy latest:1 selects version 2, which is to be a shadow; list the versions"
        )
        assert await ask(running) == "2"
        await load(
            running,
            version_policy={"specific": {"versions": [1]}},
            parameters={
                "shadow_version": {"string_value": "2"},
                "shadow_share": {"string_value": "1"},
            },
        )
        assert await ask(running) == "1"
        await running.until(lambda: images(running, "agreed") == 1)


@pytest.mark.with_fronts
async def test_unloading_and_stopping(serve: Serve, tmp_path: Path) -> None:
    """
    A shadow leaves with its model, or alone, whatever waits for it.
    """
    async with shadowed(serve, tmp_path) as running:
        await ask(running)
        await stub(running).StopShadow(pb.StopShadowRequest(model="tiny"))
        assert await index(running) == {"1": ("READY", ""), "2": ("UNAVAILABLE", "unloaded")}
        assert await ask(running) == "1"
        assert running.sample("convoy_shadow_share", model="tiny", version="2") is None
        reason, _ = await failure(stub(running).StopShadow(pb.StopShadowRequest(model="tiny")))
        assert reason == "NO_SHADOW"
        await start(running)
        await ask(running)
        asked = inference.RepositoryModelUnloadRequest(model_name="tiny")
        await running.inference.RepositoryModelUnload(asked)
        assert {state for state, _ in (await index(running)).values()} == {"UNAVAILABLE"}
        assert (await failure(start(running)))[0] == "MODEL_NOT_FOUND"
        await load(running, version_policy={"specific": {"versions": [1]}})
        assert await ask(running) == "1"


@pytest.mark.with_fronts
async def test_drain(serve: Serve, tmp_path: Path) -> None:
    """
    A server that drains waits for no shadow, and answers what is in flight.
    """
    async with shadowed(serve, tmp_path) as running:
        shadow = running.server.shadows.find("tiny")
        held = Request()
        running.server.registry.get("tiny").reserve(held, 1)
        await ask(running)
        await running.until(lambda: shadow.model.queue_depth == 1)
        draining = asyncio.create_task(running.server.drain(0.5))
        await asyncio.sleep(0)
        # During the time of grace, other calls are still answered.
        assert (await failure(start(running)))[0] == "SHUTTING_DOWN"
        assert (await failure(start(running, version=9)))[0] == "SHUTTING_DOWN"
        await draining
        assert (shadow.model.queue_depth, shadow.comparison.dropped) == (0, 1)
        running.server.registry.get("tiny").withdraw(held)


@pytest.mark.parametrize("mode", ["none", "poll"])
async def test_modes(serve: Serve, tmp_path: Path, mode: str) -> None:
    """
    Shadows come by request, which only the mode explicit allows.
    """
    async with serve(model_control_mode=mode) as running:
        assert (await failure(start(running)))[0] == "MODEL_CONTROL_OFF"
        assert (await failure(promote(running)))[0] == "MODEL_CONTROL_OFF"
        stopping = stub(running).StopShadow(pb.StopShadowRequest(model="tiny"))
        assert (await failure(stopping))[0] == "MODEL_CONTROL_OFF"


async def test_http(serve: Serve, tmp_path: Path) -> None:
    """
    The routes answer as the rpcs do, and explain what is wrong with a body.
    """
    shadow = "/v1/models/tiny/shadow"
    start_path = f"{shadow}/start"
    async with serve(**CONTROL) as running:
        tiny.write(tmp_path)
        missing = await request(running, shadow)
        assert (missing.status, missing.json()["reason"]) == (404, "NO_SHADOW")
        started = await request(running, start_path, {"version": 2, "share": 1})
        assert (started.status, started.json()["version"], started.json()["share"]) == (200, 2, 1.0)
        assert "agreement" not in started.json()
        await ask(running)
        await running.until(lambda: images(running, "agreed") == 1)
        shown = (await request(running, shadow)).json()
        expected = json.loads(_json(await shadow_of(running)))
        assert shown["agreement"] == expected["agreement"] | {"count": 1}
        refused = await request(running, "/v1/models/tiny/promote", {"version": 2})
        assert (refused.status, refused.json()["reason"]) == (400, "PROMOTION_REFUSED")
        for path, body, message in (
            (start_path, {"version": True}, "version is 'True': expected a whole number"),
            (start_path, {"version": 2.0}, "version is '2.0': expected a whole number"),
            (start_path, {"version": 2**63}, f"version is out of range: {2**63}"),
            (start_path, {"version": 2, "share": "1"}, "share is '1': expected a number"),
            (
                start_path,
                {"version": 2, "share": 0},
                "the share of a shadow is 0; it must be above 0",
            ),
            (start_path, {}, "the version of a shadow is 0; it must be at least 1"),
            (start_path, {"version": 2, "speed": 1}, "unknown member 'speed' in the body"),
            (f"{shadow}/stop", {"version": 2}, "unknown member 'version' in the body"),
            ("/v1/models/tiny/promote", {"max_failures": 0}, "max_failures is 0; it must be"),
            ("/v1/models/tiny/promote", {"min_images": 0}, "min_images is 0; it must be"),
            ("/v1/models/tiny/promote", {"min_agreement": 2}, "min_agreement is 2; it must be"),
            ("/v1/models/tiny/promote", {"max_p99_ratio": -1}, "max_p99_ratio is -1; it must be"),
        ):
            wrong = await request(running, path, body)
            assert (wrong.status, wrong.json()["reason"]) == (400, "INVALID_ARGUMENT"), body
            assert message in wrong.json()["error"]
        bounds = BOUNDS | {"version": 2, "min_images": 1, "min_agreement": 0.1, "max_failures": 1}
        promoted = await request(running, "/v1/models/tiny/promote", bounds)
        assert (promoted.status, promoted.json()["version"]) == (200, 2)
        assert await ask(running) == "2"
        stopped = await request(running, f"{shadow}/stop", {})
        assert (stopped.status, stopped.json()["reason"]) == (404, "NO_SHADOW")


async def test_commands(
    serve: Serve,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    The commands start, show, promote and stop a shadow, and print what the server refuses.
    """

    async def convoy(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, [*arguments, "--address", running.address])
        return (code, *capsys.readouterr())

    async with serve(**CONTROL) as running:
        tiny.write(tmp_path)
        code, _, error = await convoy("shadow", "tiny")
        assert (code, error) == (1, "convoy shadow: model 'tiny' has no shadow (NO_SHADOW)\n")
        code, out, _ = await convoy("shadow", "tiny", "2", "--share", "1")
        assert (code, out) == (
            0,
            "model tiny: version 2 is a shadow of version 1, on 100 % of the requests\n"
            "no request has been compared yet\n",
        )
        await ask(running)
        await running.until(lambda: images(running, "agreed") == 1)
        code, out, _ = await convoy("shadow", "tiny")
        assert out.splitlines()[2].split("  ")[0] == "same most probable class"
        assert out.splitlines()[2].split()[-7:] == ["%", "20.65", "%", "to", "100.00", "%", "1"]
        # Variables of other commands neither stop a shadow, nor start one.
        with monkeypatch.context() as patch:
            for name, text in {"STOP": "1", "VERSION": "3", "SHARE": "0.5"}.items():
                patch.setenv(f"CONVOY_{name}", text)
            assert (await convoy("shadow", "tiny"))[1] == out
        code, out, _ = await convoy("shadow", "tiny", "--json")
        assert json.loads(out)["agreement"]["count"] == 1
        code, out, error = await convoy("promote", "tiny", "2", "--max-p99-ratio", "0")
        assert (code, out) == (1, "")
        assert "min_images: 1 of 1000 images were compared" in error
        assert "(PROMOTION_REFUSED)" in error
        bounds = {"images": "1", "agreement": "0.1"}
        options = [part for name, value in bounds.items() for part in (f"--min-{name}", value)]
        options += ["--max-failures", "1", "--max-p99-ratio", "0"]
        code, out, _ = await convoy("promote", "tiny", "2", *options)
        lines = out.splitlines()
        assert (code, lines[0], lines[-1]) == (
            0,
            "model tiny: version 2 was judged against version 1",
            "version 2 now serves",
        )
        await load(running, version_policy={"specific": {"versions": [1]}})
        assert (await convoy("shadow", "tiny", "2"))[0] == 0
        code, out, _ = await convoy("shadow", "tiny", "--stop")
        assert (code, out) == (0, "model tiny no longer has a shadow\n")
        code, _, error = await convoy("shadow", "tiny", "2", "--stop")
        assert code == 2
        assert error == (
            "convoy shadow: --stop takes no VERSION, as a model has one shadow; leave it out\n"
        )
        code, _, error = await convoy("shadow", "tiny", "--share", "0.5")
        assert code == 2
        assert error.startswith("convoy shadow: --share needs VERSION")


async def test_prediction_log(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Requests on which the versions disagree are logged, with their images, whatever the share.
    """
    monkeypatch.setattr(parts, "MAX_AGE_S", 0.0)
    log = tmp_path / "log"
    settings: dict[str, Any] = {
        "prediction_log": str(log),
        "prediction_log_share": "0.000000001",
        "prediction_log_images": True,
    }
    async with shadowed(serve, tmp_path, model=disagreeing(), **settings) as running:
        async with AsyncClient(running.address) as client:
            for first in (3, DISAGREEING):
                await client.classify(png(first), model="tiny")
        await running.until(lambda: seen(running) == 2)
        await running.until(lambda: bool(list(log.rglob("part-*"))))
    (row,) = pq.read_table(log).to_pylist()
    assert (row["version"], row["shadow_of"], row["agrees"]) == (2, 1, False)
    assert (row["labels"][0], row["served_label"]) == ("class 4", "class 2")
    assert row["served_probability"] == pytest.approx(0.9998, abs=1e-4)
    assert row["request_id"]
    assert row["inference_s"] > 0
    assert [path.read_bytes() for path in log.rglob("*.png")] == [png(DISAGREEING)]
    assert main(["predictions", "to-folder", str(log), str(tmp_path / "folder")]) == 0
    assert [path.parent.name for path in (tmp_path / "folder").rglob("*.png")] == ["class 2"]


async def test_prediction_log_of_fronts(serve: Serve, tmp_path: Path) -> None:
    """
    A front logs the answers of shadows with the identifiers and images of its clients.
    """
    log = tmp_path / "log"
    settings: dict[str, Any] = {
        "front_processes": 1,
        "transport": "grpcio",
        "prediction_log": str(log),
        "prediction_log_share": "0.000000001",
        "prediction_log_images": True,
    }
    async with shadowed(serve, tmp_path, model=disagreeing(), **settings) as running:
        async with AsyncClient(running.address) as client:
            for first in (3, DISAGREEING):
                await client.classify(png(first), model="tiny")
        metadata = (("x-request-id", "mine"),)
        await running.inference.ModelInfer(infer_request(3, DISAGREEING), metadata=metadata)
        await running.until(lambda: seen(running) == 4)
    # Those of one request stay together.
    image, agreed, other = sorted(
        pq.read_table(log).to_pylist(), key=lambda row: (row["method"], not row["agrees"])
    )
    assert [row["agrees"] for row in (image, agreed, other)] == [False, True, False]
    assert {(row["version"], row["shadow_of"]) for row in (image, agreed, other)} == {(2, 1)}
    shadow = json.loads((tmp_path / "tiny" / "2" / "manifest.json").read_text())
    assert {row["sha256"] for row in (image, agreed, other)} == {shadow["model_sha256"]}
    for row in (image, other):
        assert (row["labels"][0], row["served_label"]) == ("class 4", "class 2")
        assert row["probabilities"][0] == pytest.approx(0.9998, abs=1e-4)
        assert row["inference_s"] > 0
        assert row["queue_s"] > 0
    assert (agreed["labels"][0], agreed["served_label"]) == ("class 3", "class 3")
    assert (agreed["request_id"], other["request_id"]) == ("mine", "mine")
    assert (image["batch_size"], other["batch_size"]) == (1, 2)
    assert [path.read_bytes() for path in log.rglob("*.png")] == [png(DISAGREEING)]


async def request(running: Running, path: str, body: Any = None) -> Answer:
    """Send a request over HTTP: a GET, or a POST if there is a body."""
    async with Connection(running.url) as connection:
        if body is None:
            return await connection.ask("GET", path)
        return await connection.ask("POST", path, json.dumps(body).encode())
