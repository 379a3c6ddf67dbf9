import json
from typing import Any

import pytest
from google.protobuf.message import Message

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.errors import InvalidArgumentError
from convoy.service.http.messages import as_json, set_parameters


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (pb.ServerMetadataResponse(), {"name": "", "version": "", "extensions": []}),
        (
            pb.ServerMetadataResponse(name="convoy", version="1", extensions=["a", "b"]),
            {"name": "convoy", "version": "1", "extensions": ["a", "b"]},
        ),
        (pb.ModelReadyResponse(), {"ready": False}),
        (
            pb.StatisticDuration(count=2**53 + 1, ns=2**64 - 1),
            {"count": 2**53 + 1, "ns": 2**64 - 1},
        ),
        (
            pb.ModelInput(name="image", data_type="TYPE_UINT8", dims=[-1, 4], format="FORMAT_NCHW"),
            {"name": "image", "data_type": "TYPE_UINT8", "format": "FORMAT_NCHW", "dims": [-1, 4]},
        ),
        (
            pb.ModelInput(),
            {"name": "", "data_type": "TYPE_INVALID", "format": "FORMAT_NONE", "dims": []},
        ),
        (pb.ModelVersionPolicy(), {}),
        (pb.ModelVersionPolicy(all=pb.ModelVersionPolicy.All()), {"all": {}}),
        (
            pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=2)),
            {"latest": {"num_versions": 2}},
        ),
        (pb.InferParameter(bool_param=False), {"bool_param": False}),
    ],
)
def test_messages(message: Message, expected: dict[str, Any]) -> None:
    """
    Numbers of any size stay numbers, enums are names, defaults are written, choices if made.
    """
    assert as_json(message) == expected
    assert json.loads(json.dumps(as_json(message))) == expected


def test_maps_and_messages_within() -> None:
    """
    Maps are objects and messages are written in full; one that is not set is left out.
    """
    config = pb.ModelConfig(
        name="tiny",
        parameters={"provider": pb.ModelParameter(string_value="CPU")},
        instance_group=[pb.ModelInstanceGroup(name="tiny_0", kind="KIND_GPU", count=1, gpus=[0])],
    )
    told = as_json(config)
    assert told["parameters"] == {"provider": {"string_value": "CPU"}}
    (group,) = told["instance_group"]
    assert (group["kind"], group["gpus"]) == ("KIND_GPU", [0])
    assert told["input"] == []
    assert "dynamic_batching" not in told
    assert "version_policy" not in told


def test_scalar_maps() -> None:
    """
    A map of texts is an object of texts.
    """
    told = as_json(pb.ModelMetadataResponse(properties={"precision": "float32"}))
    assert told["properties"] == {"precision": "float32"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "must be a boolean, an integer or a string"),
        (0.5, "must be a boolean, an integer or a string"),
        ([1], "must be a boolean, an integer or a string"),
        (2**63, "is out of range"),
    ],
)
def test_wrong_parameter_of_a_load(value: object, problem: str) -> None:
    """
    The error for a parameter of a wrong type or size names the parameter and the types.
    """
    asked = pb.RepositoryModelLoadRequest(model_name="tiny")
    with pytest.raises(InvalidArgumentError, match=f"^parameter 'a' {problem}$"):
        set_parameters(asked.parameters, {"parameters": {"a": value}})
