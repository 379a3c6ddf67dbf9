"""Loading and unloading while the server serves: nothing is lost, each failure is explained."""

import asyncio
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc

from convoy.artifact.errors import RepositoryError
from convoy.artifact.files import GOLDEN_FILE, MODEL_FILE, Artifact
from convoy.artifact.golden import Golden
from convoy.artifact.manifest import Memory
from convoy.artifact.repository import ModelRepository
from convoy.pb.convoy.v1 import classifier_pb2
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.app import Server
from convoy.service.errors import StartError
from convoy.service.serving.loader import Loader
from convoy.service.settings import Settings
from tests.harness import tiny
from tests.harness.calls import NOT_SERVING, health, infer_request
from tests.harness.http import ask
from tests.harness.images import png
from tests.harness.server import Running, Serve


@asynccontextmanager
async def explicit(serve: Serve, **changes: Any) -> AsyncIterator[Running]:
    """A server that loads by request and has loaded everything."""
    async with serve(model_control_mode="explicit", load_model=["*"], **changes) as running:
        yield running


async def load(running: Running, name: str = "tiny", **config: Any) -> None:
    request = pb.RepositoryModelLoadRequest(model_name=name)
    if config:
        request.parameters["config"].string_param = json.dumps(config)
    await running.inference.RepositoryModelLoad(request)


async def unload(running: Running, name: str = "tiny") -> None:
    await running.inference.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=name))


async def index(running: Running) -> dict[tuple[str, str], tuple[str, str]]:
    """State and reason of each version."""
    answer = await running.inference.RepositoryIndex(pb.RepositoryIndexRequest())
    return {(model.name, model.version): (model.state, model.reason) for model in answer.models}


async def answering_version(running: Running) -> str:
    return (await running.inference.ModelInfer(infer_request(3))).model_version


async def failing(call: Any) -> tuple[str, str, str]:
    """Code, reason and message of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    trailing = dict(failed.value.trailing_metadata() or ())
    reason = trailing["error-reason"]
    return failed.value.code().name, str(reason), failed.value.details() or ""


def drifted() -> Golden:
    golden = tiny.right_golden()
    return Golden(golden.images, golden.logits + np.float32(0.1) * np.eye(4, 5, dtype=np.float32))


@asynccontextmanager
async def constant_load(running: Running) -> AsyncIterator[list[str]]:
    """Ask without a pause while the block runs; gives the versions that answered."""
    versions: list[str] = []

    async def ask() -> None:
        while not done.is_set():
            versions.append(await answering_version(running))

    done = asyncio.Event()
    asking = [asyncio.create_task(ask()) for _ in range(4)]
    try:
        yield versions
    finally:
        done.set()
        await asyncio.gather(*asking)


async def test_new_version_takes_over_under_load(serve: Serve, tmp_path: Path) -> None:
    """
    After a load request the new version answers; no request fails, none returns to the old one.
    """
    async with explicit(serve) as running, constant_load(running) as versions:
        tiny.write(tmp_path)
        await load(running)
        assert await answering_version(running) == "2"
        enough = len(versions) + 40
        await running.until(lambda: len(versions) >= enough)
    switched = versions.index("2")
    assert set(versions[:switched]) == {"1"}
    # Calls that were in flight at the switch may still bring answers of the old version.
    assert set(versions[switched + 8 :]) == {"2"}


async def test_rollback_is_one_request(serve: Serve, tmp_path: Path) -> None:
    """
    A load request whose config names a version serves it; the next plain one serves the newest.
    """
    tiny.write(tmp_path)
    async with explicit(serve) as running:
        assert await answering_version(running) == "2"
        await load(running, version_policy={"specific": {"versions": [1]}})
        assert await answering_version(running) == "1"
        assert (await index(running))["tiny", "2"] == ("UNAVAILABLE", "unloaded")
        config = await running.inference.ModelConfig(pb.ModelConfigRequest(name="tiny"))
        assert list(config.config.version_policy.specific.versions) == [1]
        await load(running)
        assert await answering_version(running) == "2"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("corrupt", "ARTIFACT_INVALID"),
        ("truncated", "ARTIFACT_INVALID"),
        ("missing", "ARTIFACT_INVALID"),
        ("drifted", "GOLDEN_DRIFT"),
        ("no graph", "MODEL_LOAD_FAILED"),
        ("large", "MEMORY_BUDGET_EXCEEDED"),
    ],
)
async def test_bad_version_does_not_replace_the_old_one(
    serve: Serve, tmp_path: Path, damage: str, reason: str
) -> None:
    """
    The old version answers while any faulty new one is loaded, and the reason is in
    the answer, in the index and in the metrics.
    """
    async with explicit(serve, memory_budget=20_000) as running:
        async with constant_load(running) as versions:
            write_bad_version(tmp_path, damage)
            code, told, message = await failing(load(running))
        assert (code, told) == (
            "RESOURCE_EXHAUSTED" if damage == "large" else "FAILED_PRECONDITION",
            reason,
        )
        assert set(versions) == {"1"}
        states = await index(running)
        assert states["tiny", "1"] == ("READY", "")
        assert states["tiny", "2"] == ("UNAVAILABLE", f"{reason}: {message}")
        assert running.sample("convoy_model_loads_total", model="tiny", outcome=reason) == 1
        with pytest.raises(grpc.aio.AioRpcError, match="version 2 is not ready") as failed:
            await running.inference.ModelInfer(infer_request(3, model_version="2"))
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


def write_bad_version(root: Path, damage: str) -> None:
    folder = root / "tiny" / "2"
    if damage == "drifted":
        tiny.write(root, golden=drifted())
    elif damage == "no graph":
        model = tiny.graph()
        model.graph.node[0].op_type = "NoSuchOperator"
        tiny.write(root, model=model)
    elif damage == "large":
        tiny.write(root, memory=Memory(batch_size=8, weights_bytes=1, arena_peak_bytes=20_000))
    else:
        tiny.write(root)
        path = folder / MODEL_FILE
        data = path.read_bytes()
        if damage == "missing":
            (folder / GOLDEN_FILE).unlink()
        else:
            path.write_bytes(data[:-100] if damage == "truncated" else b"x" + data[1:])


async def test_fixed_version_is_tried_again(serve: Serve, tmp_path: Path) -> None:
    """
    A version that failed is loaded once its files are fixed.
    """
    async with explicit(serve) as running:
        write_bad_version(tmp_path, "drifted")
        await failing(load(running))
        shutil.rmtree(tmp_path / "tiny" / "2")
        tiny.write(tmp_path)
        await load(running)
        assert await answering_version(running) == "2"


async def test_bad_files_of_the_same_version(serve: Serve, tmp_path: Path) -> None:
    """
    A version whose files were changed to bad ones serves as before, and the index has the reason.
    """
    async with explicit(serve) as running:
        shutil.rmtree(tmp_path / "tiny" / "1")
        tiny.write(tmp_path, golden=drifted())
        _, _, message = await failing(load(running))
        assert (await index(running))["tiny", "1"] == ("READY", f"GOLDEN_DRIFT: {message}")
        assert running.sample("convoy_model_ready", model="tiny", version="1") == 1
        assert await answering_version(running) == "1"


async def test_spec_of_a_failed_load_is_dropped(serve: Serve, tmp_path: Path) -> None:
    """
    A load request that fails changes nothing, so that the configuration is still true.
    """
    async with explicit(serve) as running:
        write_bad_version(tmp_path, "drifted")
        await failing(load(running, version_policy={"specific": {"versions": [2]}}))
        config = await running.inference.ModelConfig(pb.ModelConfigRequest(name="tiny"))
        assert config.config.version_policy.latest.num_versions == 1


async def test_spec_of_a_load_that_failed_in_part(serve: Serve, tmp_path: Path) -> None:
    """
    A load request that fails for one of several versions serves the others, and says so.
    """
    async with explicit(serve) as running:
        write_bad_version(tmp_path, "drifted")
        await failing(load(running, version_policy={"all": {}}))
        assert await answering_version(running) == "1"
        config = await running.inference.ModelConfig(pb.ModelConfigRequest(name="tiny"))
        assert config.config.version_policy.WhichOneof("policy_choice") == "all"


async def test_changed_files_of_the_same_version(serve: Serve, tmp_path: Path) -> None:
    """
    A load request reloads a version whose files have changed, and no other version.
    """
    async with explicit(serve) as running:
        await load(running)
        assert running.sample("convoy_model_loads_total", model="tiny", outcome="loaded") == 1
        shutil.rmtree(tmp_path / "tiny" / "1")
        tiny.write(tmp_path, labels=tuple("abcde"))
        await load(running)
        assert running.sample("convoy_model_loads_total", model="tiny", outcome="loaded") == 2
        answer = await running.classifier.Classify(
            classifier_pb2.ClassifyRequest(model="tiny", image=png(0))
        )
        assert answer.predictions[0].label == "a"


async def test_unload_answers_what_is_in_flight(serve: Serve) -> None:
    """
    An unloaded model answers its pending requests, gets no new ones, and leaves no metrics.
    """
    async with explicit(serve) as running:
        with running.device_held():
            calls = [
                asyncio.ensure_future(running.inference.ModelInfer(infer_request(n)))
                for n in range(20)
            ]
            await running.until(lambda: running.in_flight == 20)
            unloading = asyncio.create_task(unload(running))
            await running.until(lambda: not running.server.registry.models())
            assert (await index(running))["tiny", "1"][0] == "UNLOADING"
            assert await health(running.channel, "tiny") == NOT_SERVING
            assert (await failing(running.inference.ModelInfer(infer_request(1))))[:2] == (
                "NOT_FOUND",
                "MODEL_NOT_FOUND",
            )
            assert not unloading.done()
        answers = await asyncio.gather(*calls)
        assert [answer.model_version for answer in answers] == ["1"] * 20
        await unloading
        assert (await index(running))["tiny", "1"] == ("UNAVAILABLE", "unloaded")
        assert running.sample("convoy_model_ready", model="tiny", version="1") is None
        assert running.server.batcher._models == {}
        await load(running)
        assert await answering_version(running) == "1"


async def test_unload_during_the_first_load(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A model that is unloaded while it is loaded is not served afterwards.
    """
    gate = threading.Event()
    read = Loader.read

    def slow_read(loader: Loader, name: str, version: int) -> Artifact:
        assert gate.wait(10)
        return read(loader, name, version)

    monkeypatch.setattr(Loader, "read", slow_read)
    async with serve(model_control_mode="explicit") as running:
        loading = asyncio.create_task(load(running))
        await running.until(lambda: bool(running.server.registry.entries()))
        unloading = asyncio.create_task(unload(running))
        await running.until(lambda: running.in_flight == 2)
        gate.set()
        await loading
        await unloading
        assert not running.server.registry.models()
        assert (await index(running))["tiny", "1"] == ("UNAVAILABLE", "unloaded")
        assert (await failing(unload(running)))[:2] == ("NOT_FOUND", "MODEL_NOT_FOUND")


async def test_batch_call_keeps_its_model(serve: Serve) -> None:
    """
    All images of one ClassifyBatch are answered, even if the model is unloaded meanwhile.
    """
    async with explicit(serve) as running:
        with running.device_held():
            call = asyncio.ensure_future(
                running.classifier.ClassifyBatch(
                    classifier_pb2.ClassifyBatchRequest(
                        model="tiny", images=[png(n) for n in range(30)]
                    )
                )
            )
            await running.until(lambda: running.in_flight == 1)
            unloading = asyncio.create_task(unload(running))
        outcomes = (await call).outcomes
        assert all(outcome.HasField("response") for outcome in outcomes)
        await unloading


async def test_several_versions_at_once(serve: Serve, tmp_path: Path) -> None:
    """
    The policy decides how many versions serve; a request without a version gets the newest.
    """
    for _ in range(3):
        tiny.write(tmp_path)
    policy = {"*": "latest:2"}
    async with serve(version_policy=policy) as running:
        metadata = await running.inference.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
        assert list(metadata.versions) == ["3", "4"]
        assert await answering_version(running) == "4"
        third = await running.inference.ModelInfer(infer_request(3, model_version="3"))
        assert third.model_version == "3"
        classified = await running.classifier.Classify(
            classifier_pb2.ClassifyRequest(model="tiny", image=png(0), model_version=3)
        )
        assert classified.model_version == 3
        assert (await failing(running.inference.ModelInfer(infer_request(0, model_version="1"))))[
            0
        ] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ({"*": "all"}, ["1", "2", "3"]),
        ({"*": "latest"}, ["3"]),
        ({"tiny": "specific:1:3", "*": "latest"}, ["1", "3"]),
    ],
)
async def test_policies(
    serve: Serve, tmp_path: Path, policies: dict[str, str], expected: list[str]
) -> None:
    """
    The policy of a model selects the versions to load.
    """
    for _ in range(2):
        tiny.write(tmp_path)
    async with serve(version_policy=policies) as running:
        metadata = await running.inference.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
        assert list(metadata.versions) == expected


async def test_policy_names_a_version_that_is_not_there(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A version or a model that a policy leaves without service is logged, once.
    """
    tiny.write(tmp_path, "other")
    policies = {"tiny": "specific:1:7", "other": "specific:8", "tinny": "all"}
    async with serve(
        model_control_mode="poll", repository_poll_s=0.05, version_policy=policies
    ) as running:
        assert [model.name for model in running.server.registry.models()] == ["tiny"]
        await asyncio.sleep(0.3)  # some more looks
        logged = [
            (record.getMessage(), vars(record)["model"], vars(record).get("reason"))
            for record in caplog.records
            if record.levelname != "INFO" and hasattr(record, "model")
        ]
        assert logged == [
            ("version not loaded", "tiny", "the repository has no version 7 of model 'tiny'"),
            (
                "model not loaded",
                "other",
                "the repository has no version of model 'other' that its version policy "
                "(specific:8) selects",
            ),
            ("setting for a model that the repository does not have", "tinny", None),
        ]
        # The version is logged again when it has gone again.
        for number in range(2, 8):
            tiny.write(tmp_path)
            assert (tmp_path / "tiny" / str(number)).is_dir()
        await running.until(lambda: 7 in running.server.registry.versions("tiny"))
        shutil.rmtree(tmp_path / "tiny/7")
        await running.until(lambda: list(running.server.registry.versions("tiny")) == [1])
        await running.until(lambda: caplog.messages.count("version not loaded") == 2)


async def test_load_of_a_version_that_is_not_there(serve: Serve) -> None:
    """
    A load request for several versions loads those that there are, and names one that there is not.
    """
    async with explicit(serve) as running:
        asked = load(running, version_policy={"specific": {"versions": [1, 9]}})
        assert await failing(asked) == (
            "NOT_FOUND",
            "MODEL_NOT_FOUND",
            "the repository has no version 9 of model 'tiny'",
        )
        assert await answering_version(running) == "1"
        config = await running.inference.ModelConfig(pb.ModelConfigRequest(name="tiny"))
        assert list(config.config.version_policy.specific.versions) == [1, 9]


async def test_polling(serve: Serve, tmp_path: Path) -> None:
    """
    In mode poll the server follows the repository: new models, new versions, removed models. A bad
    version is tried once, not at every poll.
    """
    async with serve(model_control_mode="poll", repository_poll_s=0.05) as running:
        registry = running.server.registry
        tiny.write(tmp_path)
        await running.until(lambda: list(registry.versions("tiny")) == [2])
        tiny.write(tmp_path, "other")
        await running.until(lambda: bool(registry.versions("other")))
        tiny.write(tmp_path, golden=drifted())
        await running.until(
            lambda: any(version.reason == "GOLDEN_DRIFT" for version in registry.entries())
        )
        await asyncio.sleep(0.3)  # some more looks
        drifts = running.sample("convoy_model_loads_total", model="tiny", outcome="GOLDEN_DRIFT")
        assert drifts == 1
        assert await answering_version(running) == "2"
        shutil.rmtree(tmp_path / "other")
        await running.until(lambda: not registry.versions("other"))
        assert (await failing(load(running)))[:2] == ("FAILED_PRECONDITION", "MODEL_CONTROL_OFF")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("strange", "x"),
        ("manifest.json", "{}"),
        ("model.onnx", "x"),
        ("golden.npz", "x"),
        ("layers.json", "{"),
        ("tuning.json", "{"),
    ],
)
async def test_polling_checks_again_what_a_refusal_names(
    serve: Serve, tmp_path: Path, file: str, content: str
) -> None:
    """
    In mode poll a version is tried again when the file that its refusal names is fixed or gone.
    """
    tiny.write(tmp_path, "other")
    path = tmp_path / "tiny/1" / file
    whole = path.read_bytes() if path.exists() else None
    path.write_text(content)
    async with serve(model_control_mode="poll", repository_poll_s=0.05) as running:
        state, reason = (await index(running))["tiny", "1"]
        assert state == "UNAVAILABLE"
        assert f"tiny/1/{file}" in reason or f"tiny/1: {file}" in reason
        if whole is None:
            path.unlink()
        else:
            path.write_bytes(whole)
        await running.until(lambda: bool(running.server.registry.versions("tiny")))
        assert (await index(running))["tiny", "1"] == ("READY", "")


async def test_polling_loads_what_the_budget_has_room_for(serve: Serve, tmp_path: Path) -> None:
    """
    In mode poll a model that did not fit into the budget is loaded when another one is removed.
    """
    tiny.write(tmp_path, "other")
    async with serve(
        model_control_mode="poll", repository_poll_s=0.05, memory_budget=9_000
    ) as running:
        assert (await index(running))["tiny", "1"][0] == "UNAVAILABLE"
        await asyncio.sleep(0.3)  # some more looks
        refused = running.sample(
            "convoy_model_loads_total", model="tiny", outcome="MEMORY_BUDGET_EXCEEDED"
        )
        assert refused == 1
        shutil.rmtree(tmp_path / "other")
        await running.until(lambda: bool(running.server.registry.versions("tiny")))


async def test_polling_reads_again_after_an_error_of_the_store(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    In mode poll a version is read again if the repository could not be, though no file changed.
    """

    def fail(*_: object) -> None:
        raise RepositoryError("the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(ModelRepository, "read", fail)
        async with serve(model_control_mode="poll", repository_poll_s=0.05) as running:
            state = (await index(running))["tiny", "1"]
            assert state == ("UNAVAILABLE", "ARTIFACT_INVALID: the network is gone")
            patch.undo()
            await running.until(lambda: bool(running.server.registry.versions("tiny")))


async def test_misnamed_folders_are_reported(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Folders that no model is served from are in the index and, once each, in the log.
    """
    shutil.copytree(tmp_path / "tiny/1", tmp_path / "tiny/v2")
    shutil.copytree(tmp_path / "tiny/1", tmp_path / "LeNet5/1")
    (tmp_path / "emp").mkdir()
    async with serve(model_control_mode="poll", repository_poll_s=0.05) as running:
        states = await index(running)
        assert states["tiny", "1"] == ("READY", "")
        for key, rule in (
            (("tiny", "v2"), "tiny/v2: a version is a number from 1 on without leading zeros"),
            (("emp", ""), "emp: the folder is empty; add an artifact as"),
            (("LeNet5", ""), "LeNet5: a model's name has up to 64 lower-case letters"),
        ):
            state, reason = states[key]
            assert state == "UNAVAILABLE"
            assert reason.startswith("ARTIFACT_INVALID: ")
            assert rule in reason
        await asyncio.sleep(0.3)  # some more looks
        logged = [one for one in caplog.records if one.message == "folder not served"]
        assert len(logged) == 3
        (tmp_path / "tiny/v2").rename(tmp_path / "tiny/002")
        await running.until(
            lambda: sum(one.message == "folder not served" for one in caplog.records) == 4
        )
        ready = await running.inference.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
        assert [model.name for model in ready.models] == ["tiny"]


@pytest.mark.parametrize("folder", ["tiny/001", "tiny/v1", "LeNet5/1"])
async def test_nothing_but_misnamed_folders(serve: Serve, tmp_path: Path, folder: str) -> None:
    """
    A server without a model names the folders that look like one, with the rule.
    """
    (tmp_path / folder).parent.mkdir(exist_ok=True)
    (tmp_path / "tiny/1").rename(tmp_path / folder)
    with pytest.raises(
        StartError, match=f"no models in .*; .*{folder.removesuffix('/1')}: a .*rename"
    ):
        async with serve():
            pass


async def test_load_of_a_misnamed_model(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A load request for a model whose folder breaks a rule is answered with the rule.
    """
    (tmp_path / "lenet5").mkdir()
    (tmp_path / "tiny/1").rename(tmp_path / "lenet5/001")
    async with serve(model_control_mode="explicit") as running:
        assert "lenet5/001: a version is" in str(
            [vars(one) for one in caplog.records if one.message == "folder not served"]
        )
        code, _, message = await failing(load(running, "lenet5"))
        assert code == "NOT_FOUND"
        assert "lenet5/001: a version is a number from 1 on without leading zeros" in message


async def test_polling_survives_an_unreadable_repository(serve: Serve, tmp_path: Path) -> None:
    """
    While the repository cannot be read, the loaded models keep serving.
    """
    async with serve(model_control_mode="poll", repository_poll_s=0.05) as running:
        away = tmp_path.with_name("away")
        await asyncio.to_thread(tmp_path.rename, away)
        await asyncio.sleep(0.2)
        assert await answering_version(running) == "1"
        await asyncio.to_thread(away.rename, tmp_path)
        tiny.write(tmp_path)
        await running.until(lambda: list(running.server.registry.versions("tiny")) == [2])


async def test_explicit_mode_loads_the_named_models(serve: Serve, tmp_path: Path) -> None:
    """
    In mode explicit the server is ready with the models named at its start, or with none.
    """
    tiny.write(tmp_path, "other")
    async with serve(model_control_mode="explicit", load_model=["other"]) as running:
        assert (await running.inference.ServerReady(pb.ServerReadyRequest())).ready
        assert await index(running) == {("other", "1"): ("READY", ""), ("tiny", "1"): ("", "")}
        ready = await running.inference.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
        assert [model.name for model in ready.models] == ["other"]
        await load(running)
        assert await answering_version(running) == "1"


async def test_named_models_in_another_mode(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The other modes load every model; the log warns if some are named, and only then.
    """
    tiny.write(tmp_path, "other")
    for named in ([], ["other"]):
        async with serve(load_model=named) as running:
            assert {name for name, _ in await index(running)} == {"other", "tiny"}
        ignored = [one for one in caplog.records if "--load-model ignored" in one.message]
        assert len(ignored) == bool(named)


async def test_misspelt_model(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """
    The log names the closest model for one to load that the repository does not have.
    """
    async with serve(model_control_mode="explicit", load_model=["tini"]):
        (record,) = (line for line in caplog.records if line.message == "model not loaded")
    assert record.__dict__["model"] == "tini"
    assert record.__dict__["reason"].endswith("; did you mean tiny?")


async def test_kserve_names_the_model_in_the_first_field(serve: Serve) -> None:
    """
    KServe's clients put the model's name where Triton has the repository's, and read an answer.
    """
    async with explicit(serve) as running:
        unloaded = await running.inference.RepositoryModelUnload(
            pb.RepositoryModelUnloadRequest(repository_name="tiny")
        )
        assert (unloaded.model_name, unloaded.is_unloaded) == ("tiny", True)
        loaded = await running.inference.RepositoryModelLoad(
            pb.RepositoryModelLoadRequest(repository_name="tiny")
        )
        assert (loaded.model_name, loaded.is_loaded) == ("tiny", True)


async def test_named_repository(serve: Serve) -> None:
    """
    The server has one repository: a request that names one is refused, and changes nothing.
    """
    async with explicit(serve) as running:
        for call in (
            running.inference.RepositoryIndex(pb.RepositoryIndexRequest(repository_name="mine")),
            running.inference.RepositoryModelLoad(
                pb.RepositoryModelLoadRequest(repository_name="mine", model_name="tiny")
            ),
            running.inference.RepositoryModelUnload(
                pb.RepositoryModelUnloadRequest(repository_name="mine", model_name="tiny")
            ),
        ):
            code, reason, message = await failing(call)
            assert (code, reason) == ("UNIMPLEMENTED", "UNSUPPORTED")
            assert "leave repository_name empty" in message
        assert await answering_version(running) == "1"


@pytest.mark.parametrize("name", ["", "..", "../tiny", "/etc", "tiny/1", "no such", "x" * 500])
async def test_invalid_names(serve: Serve, name: str) -> None:
    """
    No name leads out of the repository, and none of them is kept.
    """
    async with explicit(serve) as running:
        assert (await failing(load(running, name)))[0] == "NOT_FOUND"
        assert (await failing(unload(running, name)))[0] == "NOT_FOUND"
        assert running.server.registry._entries.keys() == {"tiny"}


@pytest.mark.parametrize(
    ("key", "value", "code", "message"),
    [
        ("config", "{", "INVALID_ARGUMENT", "not a ModelConfig"),
        ("config", '{"no_such_field": 1}', "INVALID_ARGUMENT", "not a ModelConfig"),
        ("config", '{"backend": "tensorrt"}', "INVALID_ARGUMENT", "config changes backend"),
        ("config", '{"max_batch_size": 5000}', "INVALID_ARGUMENT", "max_batch_size must be"),
        ("file:1/model.onnx", "x", "UNIMPLEMENTED", "add them to the repository"),
        ("nonsense", "x", "INVALID_ARGUMENT", "unknown parameter 'nonsense'"),
    ],
)
async def test_parameters_of_load(
    serve: Serve, key: str, value: str, code: str, message: str
) -> None:
    """
    A parameter that would have no effect is refused, never ignored.
    """
    async with explicit(serve) as running:
        request = pb.RepositoryModelLoadRequest(model_name="tiny")
        request.parameters[key].string_param = value
        told, _, details = await failing(running.inference.RepositoryModelLoad(request))
        assert (told, message in details) == (code, True)


async def test_names_that_are_not_utf_8(serve: Serve, tmp_path: Path) -> None:
    """
    The index and errors state the name of a file or a folder in any encoding.
    """
    root = os.fsencode(tmp_path)
    tiny.write(tmp_path, "other")
    for folder in (b"m\xfcnchen/1", b"tiny/erste\xff", b"other/1/\xe4"):
        os.makedirs(os.path.join(root, folder))
    async with serve(model_control_mode="explicit", load_model=["tiny"]) as running:
        code, _, message = await failing(load(running, "other"))
        assert (code, r"\udce4 does not belong here" in message) == ("FAILED_PRECONDITION", True)
        found = await index(running)
        assert found["tiny", "1"] == ("READY", "")
        assert r"\udce4 does not belong here" in found["other", "1"][1]
        assert found[r"m\udcfcnchen", ""][1].startswith("ARTIFACT_INVALID: ")
        assert "a version is a number" in found["tiny", r"erste\udcff"][1]
        listed = await ask("POST", f"{running.url}/v2/repository/index", b"{}")
        assert (listed.status, len(listed.json())) == (200, 4)


async def test_long_name_in_a_config(serve: Serve) -> None:
    """
    The message on a field that does not exist arrives, however long its name is, in one line.
    """
    async with explicit(serve) as running:
        config: dict[str, Any] = {"ü" * 20_000: 1}
        code, reason, message = await failing(load(running, **config))
        assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
        assert message.startswith("config is not a ModelConfig: ")
        assert "no field named" in message
        assert len(message) < 600
        _, _, message = await failing(load(running, nonsense=1))
        assert "\n" not in message


async def test_the_servers_own_config_is_accepted(serve: Serve) -> None:
    """
    The configuration from ModelConfig can be sent back with another batch size.
    """
    async with explicit(serve) as running:
        config = (await running.inference.ModelConfig(pb.ModelConfigRequest(name="tiny"))).config
        config.max_batch_size = 2
        await load(running, **json_format.MessageToDict(config))
        with pytest.raises(grpc.aio.AioRpcError, match="must have 1 to 2"):
            await running.inference.ModelInfer(infer_request(0, 1, 2))


async def test_load_continues_without_its_caller(serve: Serve, tmp_path: Path) -> None:
    """
    A requested load is completed even if the client disconnects.
    """
    async with explicit(serve) as running:
        tiny.write(tmp_path)
        call = running.inference.RepositoryModelLoad(
            pb.RepositoryModelLoadRequest(model_name="tiny")
        )
        await running.until(lambda: running.in_flight == 1)
        call.cancel()
        await running.until(lambda: list(running.server.registry.versions("tiny")) == [2])


async def test_budget_counts_what_is_loaded(serve: Serve, tmp_path: Path) -> None:
    """
    A model that does not fit beside the others is refused until one of them is unloaded.
    """
    tiny.write(tmp_path, "other")
    async with explicit(serve, memory_budget=9_000) as running:
        assert await index(running) != {}
        names = {model.name for model in running.server.registry.models()}
        assert names == {"other"}
        code, reason, message = await failing(load(running))
        assert (code, reason) == ("RESOURCE_EXHAUSTED", "MEMORY_BUDGET_EXCEEDED")
        assert "needs 5000 bytes, but 5000 of the budget of 9000 bytes" in message
        await unload(running, "other")
        await load(running)
        assert await answering_version(running) == "1"


@pytest.mark.parametrize("unloaded", [False, True])
async def test_budget_counts_what_still_answers(
    serve: Serve, tmp_path: Path, unloaded: bool
) -> None:
    """
    A model that was replaced or unloaded counts until its last request is answered.
    """
    async with explicit(serve, memory_budget=14_000) as running:
        tiny.write(tmp_path, "other")
        with running.device_held():
            call = asyncio.ensure_future(running.inference.ModelInfer(infer_request(3)))
            await running.until(lambda: running.in_flight == 1)
            if unloaded:
                await load(running, "other")
                tiny.write(tmp_path, "other")
                leaving = asyncio.create_task(unload(running))
                await running.until(lambda: not running.server.registry.versions("tiny"))
            else:
                tiny.write(tmp_path)
                leaving = asyncio.create_task(load(running))
                await running.until(lambda: list(running.server.registry.versions("tiny")) == [2])
            code, reason, message = await failing(load(running, "other"))
            assert (code, reason) == ("RESOURCE_EXHAUSTED", "MEMORY_BUDGET_EXCEEDED")
            assert "10000 of the budget of 14000 bytes are in use" in message
        assert (await call).model_version == "1"
        await leaving
        await load(running, "other")


async def test_health_follows_the_models(serve: Serve) -> None:
    """
    The health service knows each model by its name: serving, not serving once it is unloaded.
    """
    async with explicit(serve) as running:
        stub = health_pb2_grpc.HealthStub(running.channel)
        request = health_pb2.HealthCheckRequest(service="tiny")
        assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        await unload(running)
        assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_mode_none_stops_at_a_bad_version(tmp_path: Path) -> None:
    """
    A server that loads once does not start with less than it should serve.
    """
    tiny.write(tmp_path)
    tiny.write(tmp_path, golden=drifted())
    settings = Settings(
        model_repository=tmp_path, host="127.0.0.1", grpc_port=0, http_port=0, graph_cache=""
    )
    with pytest.raises(StartError, match="drift"):
        await Server(settings).serve()


async def test_store_behind_a_url(serve: Serve, tmp_path: Path) -> None:
    """
    A repository in a store is followed as one on the disk is.
    """
    url = f"file://{tmp_path}"
    copies = str(tmp_path.with_name("copies"))
    async with serve(
        model_repository=url,
        repository_cache=copies,
        model_control_mode="poll",
        repository_poll_s=0.05,
    ) as running:
        assert await answering_version(running) == "1"
        tiny.write(tmp_path)
        await running.until(lambda: list(running.server.registry.versions("tiny")) == [2])


async def test_flat_repository(serve: Serve, tmp_path: Path) -> None:
    """
    A folder that is an artifact itself is served under the name that is given.
    """
    flat = tmp_path / "tiny" / "1"
    async with serve(model_repository=flat, model_name="digits") as running:
        answer = await running.inference.ModelInfer(infer_request(3, model_name="digits"))
        assert (answer.model_name, answer.model_version) == ("digits", "1")


@pytest.mark.parametrize("url", ["nosuch://bucket", "file:///no/such/folder"])
async def test_store_that_is_not_there(url: str) -> None:
    """
    A store that cannot be reached stops the start with one line that names it.
    """
    settings = Settings(model_repository=url, host="127.0.0.1", grpc_port=0, http_port=0)
    with pytest.raises(StartError, match=url):
        await Server(settings).serve()


async def test_removed_versions_are_forgotten(serve: Serve, tmp_path: Path) -> None:
    """
    Versions that were removed from the repository are forgotten.
    """
    async with explicit(serve) as running:
        for version in range(2, 5):
            tiny.write(tmp_path)
            await load(running)
            shutil.rmtree(tmp_path / "tiny" / str(version - 1))
        tiny.write(tmp_path, golden=drifted())
        await failing(load(running))
        shutil.rmtree(tmp_path / "tiny" / "5")
        await load(running)
        assert await index(running) == {("tiny", "4"): ("READY", "")}
        assert len(running.server.registry.entries()) == 1
