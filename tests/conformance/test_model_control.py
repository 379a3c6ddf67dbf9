"""Repository: loading and unloading by request (Triton's extension model_repository)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from tests.conformance.target import NOT_THERE, NOWHERE, Target, outcome, refused

pytestmark = pytest.mark.extension("model_repository")

NAMES = ["", ".", "..", "../x", "/etc", "a/b", "a\\b", "\0", "x" * 10_000, "%2e%2e", "ü", "x\ny"]


@pytest.fixture(autouse=True)
def loaded(target: Target) -> Iterator[None]:
    """The model is loaded with its usual configuration afterwards; skips where it cannot be."""
    code = outcome(lambda: target.ask("RepositoryModelLoad", model_name=target.model))
    if code != "OK":
        pytest.skip(f"models are not loaded by request: {code}")
    yield
    target.ask("RepositoryModelLoad", model_name=target.model)
    target.assert_serves()


def load(target: Target, **config: Any) -> None:
    """Load the model with a configuration."""
    request = pb.RepositoryModelLoadRequest(model_name=target.model)
    request.parameters["config"].string_param = json.dumps(config)
    target.call("RepositoryModelLoad", request)


def test_unload_and_load(target: Target) -> None:
    """An unloaded model is UNAVAILABLE and answers nothing; loaded again, it serves."""
    target.ask("RepositoryModelUnload", model_name=target.model)
    assert target.states()[target.version] == "UNAVAILABLE"
    assert target.states(ready=True) == {}
    for version in ("", target.version):
        with refused(*NOT_THERE):
            target.call("ModelInfer", target.request(model_version=version))
        with refused(*NOT_THERE):
            target.ask("ModelMetadata", name=target.model, version=version)
    assert not target.ready()
    assert target.ask("ServerLive").live
    target.ask("RepositoryModelLoad", model_name=target.model)
    assert target.states()[target.version] == "READY"
    assert target.ready()
    target.assert_serves()


@pytest.mark.optional("grpc.health.v1.Health")
def test_health_follows(target: Target) -> None:
    """Health of a model's name follows its loading, for balancers (grpc.health.v1)."""
    stub = health_pb2_grpc.HealthStub(target.channel)
    request = health_pb2.HealthCheckRequest(service=target.model)
    target.ask("RepositoryModelUnload", model_name=target.model)
    if outcome(lambda: stub.Check(request)) != "NOT_FOUND":
        assert stub.Check(request).status == health_pb2.HealthCheckResponse.NOT_SERVING
    target.ask("RepositoryModelLoad", model_name=target.model)
    assert stub.Check(request).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.rest
def test_over_http(target: Target) -> None:
    """The same cycle by the routes of the extension."""
    model = f"/v2/repository/models/{target.model}"
    assert target.rest.post(f"{model}/unload").status == 200
    index = target.rest.post("/v2/repository/index").json
    assert {one["state"] for one in index if one["name"] == target.model} == {"UNAVAILABLE"}
    ready = target.rest.post("/v2/repository/index", {"ready": True}).json
    assert target.model not in {one["name"] for one in ready}
    assert target.rest.post(target.path("/infer"), target.body()).status in {404, 503}
    assert target.rest.get(target.path("/ready")).status in {400, 404, 503}
    assert target.rest.post(f"{model}/load", {"parameters": {}}).status == 200
    assert target.rest.get(target.path("/ready")).status == 200


@pytest.mark.parametrize("rpc", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_named_repository(target: Target, rpc: str) -> None:
    """A repository's name beside the model's is UNIMPLEMENTED, and the model serves on."""
    with refused("UNIMPLEMENTED"):
        target.ask(rpc, repository_name="some", model_name=target.model)
    target.assert_serves()


@pytest.mark.rest
@pytest.mark.parametrize("action", ["load", "unload"])
def test_named_repository_over_http(target: Target, action: str) -> None:
    """The same by the routes of the extension; Triton's older releases answer 400."""
    path = f"/v2/repository/some/models/{target.model}/{action}"
    assert target.rest.post(path).status in {400, 501}
    target.assert_serves()


def test_kserve_dialect(target: Target) -> None:
    """KServe's clients send the name in field 1, and read whether it is loaded in field 2."""
    field_1 = pb.RepositoryModelLoadRequest(repository_name=target.model)
    if outcome(lambda: target.call("RepositoryModelUnload", field_1)) != "OK":
        pytest.skip("the server speaks Triton's dialect only")
    assert not target.ready()
    answer = target.call("RepositoryModelLoad", field_1)
    assert answer.SerializeToString(deterministic=True) == _kserve_answer(target.model)
    assert target.ready()


def _kserve_answer(model: str) -> bytes:
    """`model_name` = 1 and `isLoaded` = 2, as KServe's clients read them."""
    name = model.encode()
    return b"\x0a" + bytes([len(name)]) + name + b"\x10\x01"


@pytest.mark.parametrize("rpc", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_unknown_model(target: Target, rpc: str) -> None:
    """A model that the repository does not have is NOT_FOUND."""
    with refused("NOT_FOUND"):
        target.ask(rpc, model_name=NOWHERE)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("rpc", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_bad_name(target: Target, rpc: str, name: str) -> None:
    """A name that no model can have reaches no file: it is the client's error."""
    with refused("NOT_FOUND", "INVALID_ARGUMENT"):
        target.ask(rpc, model_name=name)


@pytest.mark.rest
@pytest.mark.parametrize("name", [name for name in NAMES if len(name) < 1000], ids=ascii)
@pytest.mark.parametrize("action", ["load", "unload"])
def test_name_that_is_none_over_http(target: Target, action: str, name: str) -> None:
    """The same in a path, percent-encoded."""
    path = f"/v2/repository/models/{quote(name, safe='')}/{action}"
    assert target.rest.post(path).status in {400, 404, 405}


@pytest.mark.parametrize("kind", ["specific", "latest", "all"])
def test_version_policy(target: Target, kind: str) -> None:
    """A load request's `config` chooses the versions, and ModelConfig then states them."""
    policies: dict[str, Any] = {
        "specific": {"specific": {"versions": [int(target.version)]}},
        "latest": {"latest": {"num_versions": 1}},
        "all": {"all": {}},
    }
    load(target, version_policy=policies[kind])
    config = target.ask("ModelConfig", name=target.model).config
    assert config.version_policy.WhichOneof("policy_choice") == kind
    target.assert_serves()


@pytest.mark.parametrize(
    "config", ["{", "[]", '{"no_such_field": 1}', '{"max_batch_size": "many"}'], ids=str
)
def test_bad_config(target: Target, config: str) -> None:
    """A `config` that is no ModelConfig in JSON is INVALID_ARGUMENT, and the model serves on."""
    request = pb.RepositoryModelLoadRequest(model_name=target.model)
    request.parameters["config"].string_param = config
    with refused("INVALID_ARGUMENT"):
        target.call("RepositoryModelLoad", request)
    target.assert_serves()


def test_version_that_is_not_there(target: Target) -> None:
    """A policy that leaves no version is refused, and the model serves on."""
    with refused("NOT_FOUND", "INVALID_ARGUMENT"):
        load(target, version_policy={"specific": {"versions": [999_999]}})
    target.assert_serves()


def test_file_override(target: Target) -> None:
    """A model file that is garbage never serves: refused, whether or not files can be sent."""
    request = pb.RepositoryModelLoadRequest(model_name=target.model)
    request.parameters["config"].string_param = "{}"
    request.parameters["file:1/model.onnx"].bytes_param = b"garbage"
    with refused("UNIMPLEMENTED", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "INTERNAL"):
        target.call("RepositoryModelLoad", request)
    target.assert_serves()


@pytest.mark.extension("model_repository(unload_dependents)")
def test_unload_dependents(target: Target) -> None:
    """`unload_dependents` is accepted, of a model that no other one depends on too."""
    request = pb.RepositoryModelUnloadRequest(model_name=target.model)
    request.parameters["unload_dependents"].bool_param = True
    target.call("RepositoryModelUnload", request)
    assert not target.ready()
