"""Scores that are NaN or infinite, and scores that are equal."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from convoy.artifact.manifest import OutputTensor
from convoy.pb.convoy.v1 import classifier_pb2
from convoy.pb.inference import grpc_service_pb2 as pb
from tests.harness import tiny
from tests.harness.calls import check_error
from tests.harness.http import ask
from tests.harness.images import png
from tests.harness.server import Running, Serve

pytestmark = pytest.mark.both_transports

INF, NAN = math.inf, math.nan

SCORES: dict[int, list[float]] = {
    10: [NAN] * 5,
    11: [1, 2, NAN, 4, 3],
    12: [1, INF, 2, 3, 4],
    13: [-INF] * 5,
    14: [1, -INF, 3, 2, -INF],
    15: [2, 7, 7, 1, 7],
}
"""Logits by first pixel."""

FAILED = [10, 11, 12, 13]
"""Images without a best class."""

ORDER = {14: [2, 3, 0, 1, 4], 15: [1, 2, 4, 0, 3]}
"""Classes from the best to the last: some are ruled out, or have equal scores."""

LOGITS, OTHER = (
    OutputTensor(name="logits", kind="logits"),
    OutputTensor(name="probabilities", kind="other"),
)
BOTH = (LOGITS, OutputTensor(name="probabilities", kind="probabilities"))


@pytest.fixture(params=[(LOGITS, OTHER), BOTH], ids=["logits", "probabilities"])
async def odd(
    serve: Serve, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Running]:
    """A server whose model has these scores, with its own softmax and without."""
    tiny.write(tmp_path, model=tiny.graph(scores=SCORES), outputs=request.param)
    async with serve() as running:
        yield running


def infer(firsts: list[int], output: str, classes: int | None = None) -> pb.ModelInferRequest:
    """Return a request for one output, or for its best classes."""
    made = pb.ModelInferRequest(model_name="tiny")
    made.inputs.add(name="image", datatype="UINT8", shape=[len(firsts), 4, 4, 1])
    made.raw_input_contents.append(b"".join(tiny.pixels(first).tobytes() for first in firsts))
    wanted = made.outputs.add(name=output)
    if classes:
        wanted.parameters["classification"].int64_param = classes
    return made


@pytest.mark.parametrize("first", FAILED)
async def test_classify(odd: Running, first: int, caplog: pytest.LogCaptureFixture) -> None:
    """
    An image without a best class fails whatever top_k is; it is counted, logged, and named.
    """
    for top_k in (1, 2, 5):
        request = classifier_pb2.ClassifyRequest(model="tiny", image=png(first), top_k=top_k)
        with pytest.raises(grpc.aio.AioRpcError, match="send another image, or") as failed:
            await odd.classifier.Classify(request)
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert dict(failed.value.trailing_metadata() or ())["error-reason"] == "SCORES_NOT_FINITE"
    assert odd.sample("convoy_scores_not_finite_total", model="tiny") == 3
    assert "scores are not finite" in caplog.text


@pytest.mark.parametrize("first", ORDER)
@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 5])
async def test_order(odd: Running, first: int, top_k: int) -> None:
    """
    The best classes are the first of the order, however many are asked for; ties go by index.
    """
    request = classifier_pb2.ClassifyRequest(model="tiny", image=png(first), top_k=top_k)
    answer = await odd.classifier.Classify(request)
    assert [one.class_index for one in answer.predictions] == ORDER[first][:top_k]
    response = await odd.inference.ModelInfer(infer([0, first], "logits", top_k))
    texts = response.raw_output_contents[0].split(b":")[-2 * top_k : -1 : 2]
    assert [int(text) for text in texts] == ORDER[first][:top_k]


async def test_only_the_image_fails(odd: Running) -> None:
    """
    The other images of a batch are answered.
    """
    images = [png(first) for first in (3, *FAILED, 4)]
    request = classifier_pb2.ClassifyBatchRequest(model="tiny", images=images, top_k=1)
    outcomes = (await odd.classifier.ClassifyBatch(request)).outcomes
    assert [one.error.reason for one in outcomes[1:5]] == ["SCORES_NOT_FINITE"] * 4
    ends = [outcomes[0], outcomes[5]]
    assert [one.response.predictions[0].class_index for one in ends] == [3, 4]
    assert odd.sample("convoy_scores_not_finite_total", model="tiny") == 4


@pytest.mark.parametrize("output", ["logits", "probabilities"])
@pytest.mark.parametrize("first", FAILED)
async def test_classification_extension(odd: Running, output: str, first: int) -> None:
    """
    The request fails and names the image; its raw tensors are what the graph computed.
    """
    raw = await odd.inference.ModelInfer(infer([0, first], output))
    values = np.frombuffer(raw.raw_output_contents[0], np.float32).reshape(2, 5)
    expected = SCORES[first] if output == "logits" else [NAN] * 5
    np.testing.assert_array_equal(values[1], np.array(expected, np.float32))
    kinds = {one.name: one.kind for one in odd.server.registry.models()[0].manifest.outputs}
    if kinds[output] == "other":
        return
    with pytest.raises(grpc.aio.AioRpcError, match="scores for image 1 are NaN") as failed:
        await odd.inference.ModelInfer(infer([0, first], output, 2))
    assert dict(failed.value.trailing_metadata() or ())["error-reason"] == "SCORES_NOT_FINITE"


async def test_json(odd: Running) -> None:
    """
    JSON is valid: numbers that it lacks are texts, which NumPy turns back into them.
    """

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    pixels = np.concatenate([tiny.pixels(first) for first in (11, 12, 14)])
    body = {"name": "image", "datatype": "UINT8", "shape": [3, 4, 4, 1]}
    body["data"] = pixels.ravel().tolist()
    asked = {"inputs": [body], "outputs": [{"name": "logits"}]}
    answer = await ask("POST", f"{odd.url}/v2/models/tiny/infer", json.dumps(asked).encode())
    (output,) = json.loads(answer.body, parse_constant=refuse)["outputs"]
    first, second, third = (output["data"][start : start + 5] for start in (0, 5, 10))
    assert first == [1, 2, "NaN", 4, 3]
    assert second == [1, "Infinity", 2, 3, 4]
    assert third == [1, "-Infinity", 3, 2, "-Infinity"]
    expected = np.array([SCORES[11], SCORES[12], SCORES[14]], np.float32)
    values = np.array(output["data"], np.float32).reshape(output["shape"])
    np.testing.assert_array_equal(values, expected)


async def test_classification_over_http(odd: Running) -> None:
    """
    Over HTTP the classification extension fails for the same reason.
    """
    body = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4, 1]}
    body["data"] = tiny.pixels(10).ravel().tolist()
    asked = {"name": "logits", "parameters": {"classification": 2}}
    sent = json.dumps({"inputs": [body], "outputs": [asked]}).encode()
    answer = await ask("POST", f"{odd.url}/v2/models/tiny/infer", sent)
    assert "no best class" in check_error(answer, 500, "SCORES_NOT_FINITE")
