"""Requests that are read without a parser mean what the parser would read."""

import random

import numpy as np
import pytest

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.protocol.templates import MAX_HEAD_BYTES, MAX_TEMPLATES, Templates
from tests.harness import tiny
from tests.harness.calls import infer_request
from tests.harness.server import Running


async def learned(running: Running, request: pb.ModelInferRequest) -> Templates:
    """Templates after one answer in the usual way."""
    templates = Templates(running.server.registry)
    response = await running.inference.ModelInfer(request)
    templates.learn(request.SerializeToString(), response)
    return templates


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"id": "r-1"},
        {"id": "r" * 100},
        {"model_version": "1"},
        {"model_version": "1", "id": "r-1"},
    ],
)
async def test_same_meaning(running: Running, changes: dict[str, str]) -> None:
    """
    Other pixels and another identifier are read as the parser reads them; the answer is the same,
    byte for byte in its fields, as that of the usual way.
    """
    templates = await learned(running, infer_request(3, 6, **changes))
    for identifier in ("", "x", "another-one"):
        request = infer_request(7, 200, **(changes | {"id": identifier}))
        read = templates.read(request.SerializeToString())
        assert read
        assert read.batch.tobytes() == request.raw_input_contents[0]
        assert list(read.batch.shape) == list(request.inputs[0].shape)
        outputs = running.server.registry.get("tiny").session.run(read.batch.clip(max=3))
        answer = pb.ModelInferResponse.FromString(read.response(outputs))
        usual = await running.inference.ModelInfer(
            infer_request(3, 3, **(changes | {"id": identifier}))
        )
        assert answer.id == identifier
        del usual.raw_output_contents[:]
        values = [np.frombuffer(raw, np.float32) for raw in answer.raw_output_contents]
        del answer.raw_output_contents[:]
        assert answer == usual
        assert [value.tolist() for value in values] == [
            outputs[output.name].ravel().tolist() for output in usual.outputs
        ]


async def test_what_has_no_template(running: Running) -> None:
    """
    Parameters, encoded images and typed elements, of which more than the shape must be read.
    """
    prioritised, classes, typed = infer_request(3), infer_request(3), infer_request(3)
    prioritised.parameters["priority"].int64_param = 1
    classes.outputs.add(name="logits").parameters["classification"].int64_param = 2
    del typed.raw_input_contents[:]
    typed.inputs[0].contents.uint_contents.extend([3, *[0] * 15])
    long_names = infer_request(3)
    long_names.MergeFromString(b"\x92\x7d\xff\xff\x03" + b"x" * 0xFFFF)  # a field that is unknown
    for request in (prioritised, classes, typed, long_names):
        templates = await learned(running, request)
        assert templates.read(request.SerializeToString()) is None
    assert len(long_names.SerializeToString()) > MAX_HEAD_BYTES


async def test_a_model_that_was_replaced(running: Running) -> None:
    """
    Nothing outlives a change of what is served.
    """
    message = infer_request(3).SerializeToString()
    templates = await learned(running, infer_request(3))
    assert templates.read(message)
    registry = running.server.registry
    [version] = registry.entries()
    registry.switch(version, registry.get("tiny"))
    assert templates.read(message) is None


async def test_a_model_that_was_replaced_before_its_answer_was_seen(running: Running) -> None:
    """
    An answer of another model, or one that is unloaded, makes no template: its hash would be in
    the answers of the new one.
    """
    registry = running.server.registry
    message = infer_request(3).SerializeToString()
    response = await running.inference.ModelInfer(infer_request(3))
    for field, value in (("model_version", "2"), ("sha256", "0" * 64)):
        other = pb.ModelInferResponse()
        other.CopyFrom(response)
        if field == "sha256":
            other.parameters["model_sha256"].string_param = value
        else:
            other.model_version = value
        templates = Templates(registry)
        templates.learn(message, other)
        assert templates.read(message) is None
    [version] = registry.entries()
    model = registry.switch(version, None)
    templates.learn(message, response)
    assert templates.read(message) is None
    registry.switch(version, model)


async def test_a_model_that_was_loaded_again_for_fewer_images(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    An answer to more images than the model takes by now makes no template, which would pass by the
    check.
    """
    request = infer_request(3, 6)
    response = await running.inference.ModelInfer(request)
    monkeypatch.setattr(running.server.registry.get("tiny"), "max_batch_size", 1)
    templates = Templates(running.server.registry)
    templates.learn(request.SerializeToString(), response)
    assert templates.read(request.SerializeToString()) is None


async def test_bounded(running: Running) -> None:
    """
    The number of templates is bounded, for any number of different heads.
    """
    templates = Templates(running.server.registry)
    response = await running.inference.ModelInfer(infer_request(3))
    for number in range(3 * MAX_TEMPLATES):
        # A field that nobody knows, which the parser skips, tells the heads apart.
        request = infer_request(3)
        request.inputs[0].MergeFromString(b"\x9a\x06\x04" + number.to_bytes(4, "big"))
        message = request.SerializeToString()
        templates.learn(message, response)
        assert templates.read(message)
        assert len(templates._templates) <= MAX_TEMPLATES


async def test_mutated(running: Running) -> None:
    """
    A template reads mutated bytes as the parser does, or not at all.
    """
    source = random.Random(0)
    message = infer_request(3, 6, id="r-1", model_version="1").SerializeToString()
    templates = await learned(running, pb.ModelInferRequest.FromString(message))
    read = 0
    for _ in range(20_000):
        mutated = bytearray(message)
        for _ in range(source.randint(1, 3)):
            at = source.randrange(len(mutated))
            change = source.choice(["set", "insert", "remove"])
            if change == "remove":
                del mutated[at]
            else:
                mutated[at : at + (change == "set")] = bytes([source.randrange(256)])
        request = templates.read(bytes(mutated))
        if request is None:
            continue
        read += 1
        parsed = pb.ModelInferRequest.FromString(bytes(mutated))
        assert request.batch.tobytes() == parsed.raw_input_contents[0]
        assert (parsed.model_name, parsed.model_version) == ("tiny", "1")
        answer = pb.ModelInferResponse.FromString(request.response(_outputs(len(request.batch))))
        assert answer.id == parsed.id
    assert read > 1000


def _outputs(images: int) -> dict[str, np.ndarray]:
    values = np.zeros((images, tiny.CLASSES), np.float32)
    return {"logits": values, "probabilities": values}
