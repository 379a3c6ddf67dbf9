"""Any request is read completely or refused, never with another error."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.errors import InvalidArgumentError, ServiceError
from convoy.service.http.infer_body import read_infer, to_request
from convoy.service.protocol.templates import _split
from convoy.service.protocol.tensors import read_input, split_elements
from tests.harness import tiny

MANIFEST = tiny.manifest()
LIMIT = 8
ITEM = (tiny.SIDE, tiny.SIDE, 1)

shapes = st.one_of(
    st.integers(-1, LIMIT + 2).map(lambda count: [count, *ITEM]),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6),
)
contents = st.one_of(
    st.integers(0, LIMIT + 1).map(lambda count: bytes(count * math.prod(ITEM))),
    st.binary(max_size=64),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    name=st.sampled_from(["image", "", "other"]),
    datatype=st.sampled_from(["UINT8", "BYTES", "FP32", ""]),
    shape=shapes,
    raw=st.lists(contents, max_size=2),
    typed=st.lists(st.integers(0, 2**32 - 1), max_size=20),
)
def test_input(
    name: str, datatype: str, shape: list[int], raw: list[bytes], typed: list[int]
) -> None:
    """
    A tensor has the shape that the client stated, within the limit, and exactly its bytes.
    """
    request = pb.ModelInferRequest(raw_input_contents=raw)
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    tensor.contents.uint_contents.extend(typed)
    if not typed:
        tensor.ClearField("contents")
    try:
        batch = read_input(request, MANIFEST, LIMIT)
    except InvalidArgumentError:
        return
    assert name == "image"
    assert 1 <= shape[0] == len(batch) <= LIMIT
    if isinstance(batch, np.ndarray):
        assert batch.dtype == np.uint8
        assert list(batch.shape) == shape
        assert batch.tobytes() == (raw[0] if raw else bytes(typed))


@given(count=st.integers(1, LIMIT))
def test_every_right_input_is_read(count: int) -> None:
    """
    A request that is as it should be is not refused.
    """
    pixels = np.arange(count * math.prod(ITEM), dtype=np.uint8).tobytes()
    request = pb.ModelInferRequest(raw_input_contents=[pixels])
    request.inputs.add(name="image", datatype="UINT8", shape=[count, *ITEM])
    batch = read_input(request, MANIFEST, LIMIT)
    assert isinstance(batch, np.ndarray)
    assert batch.tobytes() == pixels


@given(elements=st.lists(st.binary(max_size=40), max_size=9))
def test_elements_are_those_that_were_joined(elements: list[bytes]) -> None:
    """
    Raw BYTES are cut where they were joined.
    """
    raw = b"".join(len(one).to_bytes(4, "little") + one for one in elements)
    assert split_elements(raw, len(elements)) == elements


@given(raw=st.binary(max_size=200), count=st.integers(1, 9))
def test_any_elements(raw: bytes, count: int) -> None:
    """
    Any bytes give at most one element beyond the count, or a refusal.
    """
    try:
        elements = split_elements(raw, count)
    except InvalidArgumentError:
        return
    assert len(elements) <= count + 1
    assert sum(4 + len(one) for one in elements) <= len(raw)


@given(message=st.binary(max_size=300))
def test_any_message_without_a_parser(message: bytes) -> None:
    """
    A message is split into parts of itself that follow each other, or not at all.
    """
    head = _split(message)
    if head is not None:
        assert head.size == len(head.names) + len(head.id) + len(head.raw_tag) <= len(message)
        assert head.id in message
        assert message[: head.size].endswith(head.raw_tag)


@given(
    identifier=st.text(max_size=200),
    model=st.text(max_size=200),
    raw=st.binary(max_size=300),
    outputs=st.lists(st.text(max_size=20), max_size=3),
)
def test_split_message_means_the_same(
    identifier: str, model: str, raw: bytes, outputs: list[str]
) -> None:
    """
    The parts of a real request mean, to a parser, what the request means.
    """
    request = pb.ModelInferRequest(id=identifier, model_name=model, raw_input_contents=[raw])
    request.inputs.add(name="image", datatype="UINT8", shape=[len(raw)])
    for name in outputs:
        request.outputs.add(name=name)
    message = request.SerializeToString(deterministic=True)
    head = _split(message)
    assert head is not None
    assert message[head.size :] == raw
    request.ClearField("raw_input_contents")
    assert pb.ModelInferRequest.FromString(head.names + head.id) == request


@given(
    body=st.one_of(st.binary(max_size=200), json_values.map(lambda one: json.dumps(one).encode()))
)
def test_any_body(body: bytes) -> None:
    """
    Any body is a request or is refused.
    """
    try:
        to_request(*read_infer(body, None, 1000), "tiny", "")
    except ServiceError:
        return
    assert "inputs" in json.loads(body)


@given(
    field=st.sampled_from(["name", "datatype", "shape", "data", "parameters"]),
    value=json_values,
    above=st.booleans(),
)
def test_any_value_of_a_field(field: str, value: Any, above: bool) -> None:
    """
    Any value of one field of an otherwise correct request raises nothing but a refusal,
    and a short one.
    """
    tensor: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": [1, *ITEM]}
    tensor["data"] = [0] * math.prod(ITEM)
    asked: dict[str, Any] = {"inputs": [tensor]}
    (asked if above else tensor)[field] = value
    told = ""
    try:
        request = to_request(*read_infer(json.dumps(asked).encode(), None, 10_000), "tiny", "")
        read_input(request, MANIFEST, LIMIT)
    except ServiceError as error:
        told = str(error)
    assert len(told) < 500


@given(
    values=st.lists(st.integers(0, 255), min_size=math.prod(ITEM), max_size=math.prod(ITEM)),
    nested=st.booleans(),
)
def test_json_pixels(values: list[int], nested: bool) -> None:
    """
    Pixels in JSON, flat or nested, become the bytes that they say.
    """
    pixels = np.array(values, np.uint8).reshape(1, *ITEM)
    data = pixels.tolist() if nested else values
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *ITEM], "data": data}
    body = json.dumps({"inputs": [tensor]}).encode()
    request = to_request(*read_infer(body, None, len(body)), "tiny", "")
    batch = read_input(request, MANIFEST, LIMIT)
    assert isinstance(batch, np.ndarray)
    assert np.array_equal(batch, pixels)
    with pytest.raises(ServiceError):
        read_infer(body, None, len(body) - 1)
