"""tritonclient: what NVIDIA's blocking clients for gRPC and HTTP share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc.auth import BasicAuth

from tests.conformance.clients import inputs, outputs
from tests.conformance.target import NOWHERE, Target, outcome, refused
from tests.conformance.tensors import assert_same

GRPC = pytest.param(tritonclient.grpc, id="grpc")
HTTP = pytest.param(tritonclient.http, id="http", marks=pytest.mark.rest)


@pytest.fixture(params=[GRPC, HTTP])
def kind(request: pytest.FixtureRequest) -> ModuleType:
    """Both of the clients."""
    module: ModuleType = request.param
    return module


@pytest.fixture
def client(target: Target, kind: ModuleType) -> Iterator[Any]:
    """A client, closed afterwards."""
    address = target.grpc_address if kind is tritonclient.grpc else target.http_address
    with kind.InferenceServerClient(address) as client:
        yield client


def test_health(target: Target, client: Any) -> None:
    """is_server_live, is_server_ready, is_model_ready."""
    assert client.is_server_live() is True
    assert client.is_server_ready() is True
    assert client.is_model_ready(target.model) is True
    assert client.is_model_ready(target.model, target.version) is True


def test_metadata(target: Target, client: Any, kind: ModuleType) -> None:
    """get_server_metadata and get_model_metadata, as messages and as JSON."""
    options = {"as_json": True} if kind is tritonclient.grpc else {}
    assert client.get_server_metadata(**options)["name"] == target.server.name
    told = client.get_model_metadata(target.model, target.version, **options)
    assert [one["name"] for one in told["inputs"]] == [spec.name for spec in target.inputs]
    with refused("NOT_FOUND", "404"):
        client.get_model_metadata(NOWHERE)


@pytest.mark.extension("model_configuration")
def test_configuration(target: Target, client: Any, kind: ModuleType) -> None:
    """get_model_config: perf_analyzer and model_analyzer begin with it."""
    if kind is tritonclient.grpc:
        config = client.get_model_config(target.model, as_json=True)["config"]
    else:
        config = client.get_model_config(target.model, target.version)
    assert config["name"] == target.model
    assert config["input"][0]["name"] == target.inputs[0].name


@pytest.mark.parametrize("version", ["", "given"])
def test_infer(target: Target, client: Any, kind: ModuleType, version: str) -> None:
    """infer, with all outputs, with some, and with everything that a request may say."""
    version = version and target.version
    given = inputs(kind, target.tensors(2))
    result = client.infer(target.model, given, model_version=version)
    assert_same(outputs(target, result), target.infer(2))
    name = target.outputs[-1].name
    result = client.infer(
        target.model,
        given,
        outputs=[kind.InferRequestedOutput(name)],
        request_id="7",
        headers={"x-conformance": "1"},
        parameters={"conformance": "text", "number": 7, "yes": True},
    )
    assert_same({name: result.as_numpy(name)}, target.infer(2, outputs=[name]))
    assert result.get_output("no such output") is None
    response = result.get_response()
    assert (response["id"] if isinstance(response, dict) else response.id) == "7"


@pytest.mark.extension("schedule_policy")
def test_terms(target: Target, client: Any, kind: ModuleType) -> None:
    """infer with a priority and a timeout, in the types that the client sends them."""
    given = inputs(kind, target.tensors())
    result = client.infer(target.model, given, priority=1, timeout=60_000_000)
    assert_same(outputs(target, result), target.infer())


@pytest.mark.extension("classification")
def test_classification(target: Target, client: Any, kind: ModuleType) -> None:
    """InferRequestedOutput with a class_count."""
    specs = [spec for spec in target.outputs if spec.datatype in ("FP32", "FP64")]
    wanted = [kind.InferRequestedOutput(spec.name, class_count=1) for spec in specs]
    result = client.infer(target.model, inputs(kind, target.tensors()), outputs=wanted)
    for spec in specs:
        values = target.infer()[spec.name].ravel()
        index = int(result.as_numpy(spec.name).ravel()[0].split(b":")[1])
        assert values[index] == pytest.approx(values.max(), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(target: Target, client: Any, kind: ModuleType, algorithm: str) -> None:
    """infer with packed requests and answers."""
    options = {"compression_algorithm": algorithm}
    if kind is tritonclient.http:
        options = {
            "request_compression_algorithm": algorithm,
            "response_compression_algorithm": algorithm,
        }
    count = target.max_batch_size
    result = client.infer(target.model, inputs(kind, target.tensors(count)), **options)
    assert_same(outputs(target, result), target.infer(count))


def test_plugin(target: Target, client: Any) -> None:
    """register_plugin: a header that the server does not know changes nothing."""
    plugin = BasicAuth("user", "word")
    client.register_plugin(plugin)
    assert client.plugin() is plugin
    assert client.is_model_ready(target.model)
    client.unregister_plugin()
    assert client.is_model_ready(target.model)


@pytest.mark.extension("statistics")
def test_statistics(target: Target, client: Any, kind: ModuleType) -> None:
    """get_inference_statistics, as perf_analyzer asks before and after."""
    options = {"as_json": True} if kind is tritonclient.grpc else {}
    client.infer(target.model, inputs(kind, target.tensors()))
    (told,) = client.get_inference_statistics(target.model, target.version, **options)[
        "model_stats"
    ]
    assert int(told["inference_stats"]["success"]["count"]) > 0
    assert client.get_inference_statistics()


@pytest.mark.extension("logging")
def test_log_settings(client: Any, kind: ModuleType) -> None:
    """get_log_settings and update_log_settings."""
    options = {"as_json": True} if kind is tritonclient.grpc else {}
    before = client.get_log_settings(**options)
    changed = client.update_log_settings({"log_verbose_level": 1}, **options)
    assert changed.keys() == before.keys()
    client.update_log_settings({"log_verbose_level": 0})


@pytest.mark.extension("model_repository")
def test_model_control(target: Target, client: Any, kind: ModuleType) -> None:
    """get_model_repository_index, unload_model, load_model with and without a config."""
    options = {"as_json": True} if kind is tritonclient.grpc else {}
    index = client.get_model_repository_index(**options)
    models = index["models"] if kind is tritonclient.grpc else index
    assert target.model in {one["name"] for one in models}
    code = outcome(lambda: client.load_model(target.model))
    if code != "OK":
        pytest.skip(f"models are not loaded by request: {code}")
    client.unload_model(target.model)
    client.load_model(target.model, config=json.dumps({"version_policy": {"all": {}}}))
    client.load_model(target.model)
    assert client.is_model_ready(target.model)


def test_reused_input(target: Target, client: Any, kind: ModuleType) -> None:
    """One input object for many requests: answers follow what it holds each time."""
    (given, *others) = inputs(kind, target.tensors())
    for seed in range(3):
        first, *rest = target.tensors(seed=seed)
        given.set_data_from_numpy(np.ascontiguousarray(first.values))
        for one, tensor in zip(others, rest, strict=True):
            one.set_data_from_numpy(tensor.values)
        result = client.infer(target.model, [given, *others])
        assert_same(outputs(target, result), target.infer(seed=seed))
