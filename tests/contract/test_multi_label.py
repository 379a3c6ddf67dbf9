"""A multi-label model: the probabilities of its classes are independent, over every interface."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from convoy import AsyncClient
from convoy.__main__ import main
from convoy.pb.convoy.v1 import classifier_pb2
from convoy.pb.inference import grpc_service_pb2 as pb
from tests.harness import tiny
from tests.harness.calls import infer_request
from tests.harness.http import ask
from tests.harness.images import png
from tests.harness.server import Serve

pytestmark = pytest.mark.both_transports

HIGH, LOW = 1 / (1 + np.exp(-10)), 0.5
"""The sigmoid of the graph's logits for the class of an image, and for the others."""


@pytest.fixture
def tags(tmp_path: Path) -> str:
    """The name of a model that ends in a sigmoid, beside its logits."""
    tiny.write_multi_label(tmp_path, "tags")
    return "tags"


async def test_probabilities_do_not_sum_to_one(serve: Serve, tags: str) -> None:
    """
    Classify and our client return each class's own probability, the most probable class first.
    """
    async with serve() as running:
        request = classifier_pb2.ClassifyRequest(image=png(3), model=tags)
        predictions = (await running.classifier.Classify(request)).predictions
        async with AsyncClient(f"127.0.0.1:{running.server.grpc_port}") as client:
            answer = await client.classify(png(3), model=tags, top_k=2)
    assert [p.class_index for p in predictions] == [3, 0, 1, 2, 4]
    assert [p.probability for p in predictions] == pytest.approx([HIGH, LOW, LOW, LOW, LOW])
    assert [p.probability for p in answer.predictions] == pytest.approx([HIGH, LOW])


async def test_classification_extension(serve: Serve, tags: str) -> None:
    """
    The Open Inference Protocol's best classes are these probabilities, too.
    """
    request = infer_request(3)
    request.model_name = tags
    request.outputs.add(name="probabilities").parameters["classification"].int64_param = 2
    async with serve() as running:
        response = await running.inference.ModelInfer(request)
    text = response.raw_output_contents[0]
    assert b"0.999955:3:class 3" in text
    assert b"0.500000:0:class 0" in text


async def test_kind_is_stated(serve: Serve, tags: str) -> None:
    """
    Metadata and configuration state how the scores are to be read.
    """
    async with serve() as running:
        found = {}
        for name in (tags, "tiny"):
            metadata = await running.inference.ModelMetadata(pb.ModelMetadataRequest(name=name))
            config = await running.inference.ModelConfig(pb.ModelConfigRequest(name=name))
            found[name] = metadata.properties["scores"]
            assert config.config.parameters["scores"].string_value == found[name]
    assert found == {tags: "independent", "tiny": "probabilities"}


async def test_page_is_told(serve: Serve, tags: str) -> None:
    """
    The page learns that several labels may apply.
    """
    async with serve() as running:
        models = (await ask("GET", f"{running.url}/page/models")).json()["models"]
    (found,) = (model for model in models if model["manifest"]["name"] == tags)
    assert found["scores"] == {"name": "probabilities", "kind": "independent"}


async def test_models_are_listed_as_such(
    serve: Serve, tags: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    ListModels, our client, the HTTP API and `convoy models` tell which models are multi-label.
    """
    async with serve() as running:
        listed = (await running.classifier.ListModels(classifier_pb2.ListModelsRequest())).models
        async with AsyncClient(f"127.0.0.1:{running.server.grpc_port}") as client:
            models = await client.models()
        over_http = (await ask("GET", f"{running.url}/v1/models")).json()["models"]
        assert await asyncio.to_thread(main, ["models", "--address", running.address]) == 0
    assert {model.name: model.multi_label for model in listed} == {tags: True, "tiny": False}
    assert {model.name: model.is_multi_label for model in models} == {tags: True, "tiny": False}
    assert [model["name"] for model in over_http if model.get("multi_label")] == [tags]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if row[2:] == ["5", "multi-label"]] == [tags]
