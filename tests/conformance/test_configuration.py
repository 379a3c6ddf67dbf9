"""Configuration: how a model is served (Triton's extension model_configuration)."""

from __future__ import annotations

import pytest
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2

from tests.conformance.target import Target

pytestmark = pytest.mark.extension("model_configuration")


@pytest.mark.parametrize("versioned", [False, True])
def test_agrees_with_metadata(target: Target, versioned: bool) -> None:
    """Names, types and shapes are those of the metadata; the batch is not in `dims`."""
    version = target.version if versioned else ""
    config = target.ask("ModelConfig", name=target.model, version=version).config
    assert config.name == target.model
    batches = config.max_batch_size > 0
    for told, specs in ((config.input, target.inputs), (config.output, target.outputs)):
        assert [one.name for one in told] == [spec.name for spec in specs]
        for one, spec in zip(told, specs, strict=True):
            datatype = model_config_pb2.DataType.Name(one.data_type).removeprefix("TYPE_")
            assert datatype.replace("STRING", "BYTES") == spec.datatype
            assert tuple(one.dims) == (spec.shape[1:] if batches else spec.shape)


def test_names_its_platform(target: Target) -> None:
    """A platform or a backend is named, and where it runs (model_configuration)."""
    config = target.ask("ModelConfig", name=target.model).config
    assert config.platform or config.backend
    assert config.instance_group
    assert all(group.count >= 1 for group in config.instance_group)
    assert config.version_policy.WhichOneof("policy_choice")


def test_one_answer_to_a_request(target: Target) -> None:
    """A model that answers ModelInfer is not decoupled (model_transaction_policy)."""
    config = target.ask("ModelConfig", name=target.model).config
    assert not config.model_transaction_policy.decoupled


@pytest.mark.rest
def test_same_over_http(target: Target) -> None:
    """The JSON is that of the message: enums are names, and all of it can be read back."""
    answer = target.rest.get(target.path("/config"))
    assert answer.status == 200
    read = json_format.ParseDict(answer.json, model_config_pb2.ModelConfig())
    assert read == target.ask("ModelConfig", name=target.model).config
    assert answer.json["input"][0]["data_type"].startswith("TYPE_")


@pytest.mark.rest
def test_version_over_http(target: Target) -> None:
    """A version has a route of its own."""
    assert target.rest.get(target.path("/config", target.version)).json["name"] == target.model
