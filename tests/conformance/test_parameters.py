"""Parameters: priority, timeout, and those that a server does not know (Triton's extensions)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.target import BAD_REQUEST, Target, outcome, refused
from tests.conformance.tensors import arrays, assert_same

scheduled = pytest.mark.extension("schedule_policy")
parameters = pytest.mark.extension("parameters")

KINDS: dict[str, Any] = {
    "bool_param": True,
    "int64_param": -7,
    "string_param": "ü",
    "double_param": 0.5,
    "uint64_param": 2**64 - 1,
}

MINUTE_US = 60_000_000


@scheduled
@pytest.mark.parametrize("kind", ["int64_param", "uint64_param"])
@pytest.mark.parametrize("priority", [0, 1, 2, 3, 1000])
def test_priority(target: Target, kind: str, priority: int) -> None:
    """A priority is taken in both integer types: tritonclient sends uint64 (schedule_policy)."""
    request = target.request()
    setattr(request.parameters["priority"], kind, priority)
    assert_same(arrays(target.call("ModelInfer", request)), target.infer())


@scheduled
@pytest.mark.parametrize("timeout", [0, MINUTE_US])
def test_timeout(target: Target, timeout: int) -> None:
    """A timeout that is not reached changes nothing (schedule_policy)."""
    request = target.request()
    request.parameters["timeout"].int64_param = timeout
    assert_same(arrays(target.call("ModelInfer", request)), target.infer())


@scheduled
@pytest.mark.parametrize("name", ["priority", "timeout"])
@pytest.mark.parametrize("kind", ["string_param", "bool_param"])
def test_wrong_type(target: Target, name: str, kind: str) -> None:
    """A priority or timeout that is no integer is INVALID_ARGUMENT (Triton)."""
    request = target.request()
    setattr(request.parameters[name], kind, KINDS[kind])
    with refused("INVALID_ARGUMENT"):
        target.call("ModelInfer", request)


@parameters
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["request", "input", "output"])
def test_unknown_parameter(target: Target, kind: str, where: str) -> None:
    """A parameter that the server does not know is accepted, of each type and in each place."""
    request = target.request()
    output = request.outputs.add(name=target.outputs[0].name)
    holder = {"request": request, "input": request.inputs[0], "output": output}[where]
    setattr(holder.parameters["conformance"], kind, KINDS[kind])
    assert target.call("ModelInfer", request).outputs


@parameters
def test_parameter_without_a_value(target: Target) -> None:
    """An unknown parameter of no type at all is accepted or INVALID_ARGUMENT, no server's error."""
    request = target.request()
    request.parameters["conformance"].SetInParent()
    assert outcome(lambda: target.call("ModelInfer", request)) in {"OK", "INVALID_ARGUMENT"}


@parameters
@pytest.mark.rest
@pytest.mark.parametrize("value", ["ü", True, -7, 0.5, 2**62], ids=str)
@pytest.mark.parametrize("where", ["request", "input", "output"])
def test_unknown_parameter_over_http(target: Target, value: object, where: str) -> None:
    """The same of JSON's types."""
    body = target.body(outputs=[{"name": target.outputs[0].name}])
    holder = {"request": body, "input": body["inputs"][0], "output": body["outputs"][0]}[where]
    holder["parameters"] = {"conformance": value}
    assert target.rest.post(target.path("/infer"), body).status == 200


@scheduled
@pytest.mark.rest
@pytest.mark.parametrize("name", ["priority", "timeout"])
def test_options_over_http(target: Target, name: str) -> None:
    """Priority and timeout are read from JSON, each as an integer (schedule_policy)."""
    body = target.body(parameters={"priority": 1, "timeout": MINUTE_US})
    assert_same(target.rest.post(target.path("/infer"), body).arrays, target.infer())
    body["parameters"][name] = "high"
    assert target.rest.post(target.path("/infer"), body).status in BAD_REQUEST
