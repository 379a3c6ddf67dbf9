"""Core routes: those of the protocol's REST form, and HTTP's own manners."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from tests.conformance.rest import exchange
from tests.conformance.target import BAD_REQUEST, NOWHERE, Target
from tests.conformance.tensors import assert_same

pytestmark = pytest.mark.rest


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_server_health(target: Target, path: str) -> None:
    """A server with a ready model answers 200 (OIP REST, health)."""
    assert target.rest.get(path).status == 200


@pytest.mark.parametrize("versioned", [False, True])
def test_model_ready(target: Target, versioned: bool) -> None:
    """A ready model answers 200, with its version and without (OIP REST, model ready)."""
    version = target.version if versioned else ""
    assert target.rest.get(target.path("/ready", version)).status == 200


def test_server_metadata(target: Target) -> None:
    """The server says the same of itself as over gRPC (OIP REST, server metadata)."""
    answer = target.rest.get("/v2").json
    server = target.server
    assert (answer["name"], answer["version"]) == (server.name, server.version)
    assert answer["extensions"] == list(server.extensions)


@pytest.mark.parametrize("versioned", [False, True])
def test_model_metadata(target: Target, versioned: bool) -> None:
    """The model is described as over gRPC, shapes as numbers (OIP REST, model metadata)."""
    answer = target.rest.get(target.path(version=target.version if versioned else "")).json
    assert answer["name"] == target.model
    assert answer["versions"] == list(target.described.versions)
    assert answer["platform"] == target.described.platform
    for key, specs in (("inputs", target.inputs), ("outputs", target.outputs)):
        found = [(one["name"], one["datatype"], tuple(one["shape"])) for one in answer[key]]
        assert found == [(spec.name, spec.datatype, spec.shape) for spec in specs]


@pytest.mark.parametrize("versioned", [False, True])
def test_infer(target: Target, versioned: bool) -> None:
    """JSON is answered with JSON, equal to the answer over gRPC (OIP REST, inference)."""
    version = target.version if versioned else ""
    answer = target.rest.post(target.path("/infer", version), target.body(2))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json["model_name"] == target.model
    assert answer.json["model_version"] == target.version
    assert all("data" in output for output in answer.json["outputs"])
    assert_same(answer.arrays, target.infer(2))


def test_id_is_echoed(target: Target) -> None:
    """The answer carries the identifier of its request (OIP REST, id)."""
    answer = target.rest.post(target.path("/infer"), target.body(id="Anfrage Nr. 7 ü"))
    assert answer.json["id"] == "Anfrage Nr. 7 ü"


@pytest.mark.parametrize("reverse", [False, True])
def test_outputs_in_the_order_asked(target: Target, reverse: bool) -> None:
    """Only the outputs that are asked for come back, in that order (OIP REST, outputs)."""
    names = [spec.name for spec in target.outputs][:: -1 if reverse else 1]
    for wanted in (names, names[:1]):
        body = target.body(outputs=[{"name": name} for name in wanted])
        answer = target.rest.post(target.path("/infer"), body)
        assert [output["name"] for output in answer.json["outputs"]] == wanted


def test_connection_is_kept(target: Target) -> None:
    """Many requests share a connection, a refused one among them (HTTP/1.1, keep-alive)."""
    with closing(target.rest.connection()) as connection:
        for path in ("/v2", target.path(), f"/v2/models/{NOWHERE}", "/v2/health/live") * 3:
            answer = exchange(connection, "GET", path)
            assert answer.status == (404 if NOWHERE in path else 200)
            assert connection.sock is not None, f"closed after {path}"


def test_refusal_is_json(target: Target) -> None:
    """An error is JSON whose key `error` says what is wrong (OIP REST, error responses)."""
    answer = target.rest.post(target.path("/infer"), {"inputs": []})
    assert answer.status in BAD_REQUEST
    assert answer.headers["content-type"].startswith("application/json")
    assert isinstance(answer.json["error"], str)
    assert answer.json["error"]


def test_models_are_listed(target: Target) -> None:
    """`/v2/models` lists the models that answer (KServe; Triton has no such route)."""
    answer = target.rest.get("/v2/models")
    if answer.status == 404:
        pytest.skip("the server has no /v2/models")
    assert target.model in answer.json["models"]


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("GET", "/v2/no/such/route", {404, 400}),
        ("GET", "/", {404, 400, 200}),
        ("GET", "/v2/models/{model}/infer", {405, 404, 400}),
        ("POST", "/v2/health/live", {405, 404, 400}),
        ("DELETE", "/v2/models/{model}", {405, 404, 400}),
    ],
)
def test_no_such_route(target: Target, method: str, path: str, statuses: set[int]) -> None:
    """An unknown route or method is the client's error, not the server's (HTTP)."""
    answer = target.rest.send(method, path.format(model=target.model))
    assert answer.status in statuses


def test_name_is_unquoted(target: Target) -> None:
    """A model's name may be percent-encoded in a path (RFC 3986)."""
    quoted = "".join(f"%{byte:02X}" for byte in target.model.encode())
    assert target.rest.get(f"/v2/models/{quoted}").json["name"] == target.model


def test_numbers_are_numbers(target: Target) -> None:
    """JSON has numbers for numbers, those of 64 bits too, and no text (OIP REST, tensor data)."""
    answer = target.rest.post(target.path("/infer"), target.body()).json
    described = {spec.name: spec for spec in target.outputs}
    for output in answer["outputs"]:
        kinds: tuple[type[Any], ...] = (int, float)
        if described[output["name"]].datatype == "BYTES":
            kinds = (str,)
        assert all(isinstance(value, kinds) for value in output["data"])
        assert all(isinstance(size, int) for size in output["shape"])
