"""REST tensors: JSON, binary ones behind it, and packed bodies."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest

from tests.conformance.rest import LENGTH_HEADER, Answer, binary_body
from tests.conformance.target import Target
from tests.conformance.tensors import assert_same

pytestmark = pytest.mark.rest

binary = pytest.mark.extension("binary_tensor_data")

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


def test_nested_data(target: Target) -> None:
    """Data may be nested by its shape, or flat (OIP REST, tensor data)."""
    body = target.body(2)
    for one, tensor in zip(body["inputs"], target.tensors(2), strict=True):
        one["data"] = tensor.values.tolist()
    assert_same(target.rest.post(target.path("/infer"), body).arrays, target.infer(2))


@pytest.mark.parametrize("content_type", ["", "application/x-www-form-urlencoded"])
def test_content_type_is_not_needed(target: Target, content_type: str) -> None:
    """JSON is read with any Content-Type: tritonclient sends none, `curl -d` that of a form."""
    headers = {"Content_Type": content_type} if content_type else {}
    data = json.dumps(target.body()).encode()
    answer = target.rest.send("POST", target.path("/infer"), data, headers)
    assert_same(answer.arrays, target.infer())


def test_unknown_keys_are_ignored(target: Target) -> None:
    """A request of a later version of the protocol is answered."""
    answer = target.rest.post(target.path("/infer"), target.body(newer={"a": [1, None]}))
    assert answer.status == 200


@binary
def test_binary_input(target: Target) -> None:
    """An input may follow the JSON as raw bytes; the answer is JSON then (binary_tensor_data)."""
    body, headers = binary_body(target.tensors(2))
    answer = target.rest.post(target.path("/infer"), body, **headers)
    assert LENGTH_HEADER.lower() not in answer.headers
    assert_same(answer.arrays, target.infer(2))


@binary
@pytest.mark.parametrize("by_output", [False, True])
def test_binary_outputs(target: Target, by_output: bool) -> None:
    """`binary_data` of an output, or `binary_data_output` for all, makes it raw bytes."""
    body = target.body(2)
    if by_output:
        parameters = {"binary_data": True}
        body["outputs"] = [{"name": one.name, "parameters": parameters} for one in target.outputs]
    else:
        body["parameters"] = {"binary_data_output": True}
    answer = target.rest.post(target.path("/infer"), body)
    text = int(answer.headers[LENGTH_HEADER.lower()])
    sizes = [one["parameters"]["binary_data_size"] for one in answer.json["outputs"]]
    assert len(answer.body) == text + sum(sizes)
    assert all("data" not in one for one in answer.json["outputs"])
    assert_same(answer.arrays, target.infer(2))


@binary
@pytest.mark.parametrize("place", [0, 1])
def test_mixed_outputs(target: Target, place: int) -> None:
    """One output may be binary and the other JSON, whichever comes first."""
    if len(target.outputs) < 2:
        pytest.skip("the model has one output")
    body, headers = binary_body(
        target.tensors(2),
        parameters={"binary_data_output": True},
        outputs=[
            {"name": one.name, **({} if index == place else {"parameters": {"binary_data": False}})}
            for index, one in enumerate(target.outputs)
        ],
    )
    answer = target.rest.post(target.path("/infer"), body, **headers)
    in_json = ["data" in one for one in answer.json["outputs"]]
    assert in_json == [index != place for index in range(len(target.outputs))]
    assert_same(answer.arrays, target.infer(2))


@pytest.mark.parametrize("encoding", PACK)
def test_packed_request(target: Target, encoding: str) -> None:
    """A request may be packed by gzip and deflate (Triton's HTTP compression)."""
    packed = PACK[encoding](json.dumps(target.body(2)).encode())
    answer = target.rest.post(target.path("/infer"), packed, Content_Encoding=encoding)
    if answer.status == 415:
        pytest.skip(f"the server does not unpack {encoding}")
    assert_same(answer.arrays, target.infer(2))


@binary
@pytest.mark.parametrize("encoding", PACK)
def test_packed_binary_request(target: Target, encoding: str) -> None:
    """The header of a packed binary request states the JSON's unpacked length (Triton)."""
    body, headers = binary_body(target.tensors(2))
    packed = PACK[encoding](body)
    answer = target.rest.post(target.path("/infer"), packed, Content_Encoding=encoding, **headers)
    assert_same(answer.arrays, target.infer(2))


@binary
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
@pytest.mark.parametrize("in_binary", [False, True])
def test_packed_answer(target: Target, encoding: str, in_binary: bool) -> None:
    """An answer is packed in no way that the client did not name (HTTP, Accept-Encoding)."""
    count = target.max_batch_size
    body = target.body(count, parameters={"binary_data_output": in_binary})
    answer = target.rest.post(target.path("/infer"), body, Accept_Encoding=encoding)
    assert answer.headers.get("content-encoding", "identity") in {encoding, "identity"}
    assert_same(answer.arrays, target.infer(count))


def test_refused_packing(target: Target) -> None:
    """An answer is not packed in a way that the client refuses (RFC 9110, a weight of 0)."""
    body = target.body(target.max_batch_size)
    refused = "gzip;q=0, deflate;q=0"
    answer = target.rest.post(target.path("/infer"), body, Accept_Encoding=refused)
    assert "content-encoding" not in answer.headers


def test_chunked_request(target: Target) -> None:
    """A body may come in chunks, without its length (HTTP/1.1)."""
    data = json.dumps(target.body(2)).encode()
    chunks = (data[start : start + 100] for start in range(0, len(data), 100))
    with closing(target.rest.connection()) as connection:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", target.path("/infer"), chunks, headers, encode_chunked=True)
        response = connection.getresponse()
        answer = Answer(response.status, {}, response.read())
    assert_same(answer.arrays, target.infer(2))


def test_many_requests_differ(target: Target) -> None:
    """Answers follow their requests: no answer is that of another one."""
    answers = [
        target.rest.post(target.path("/infer"), target.body(seed=seed)).arrays for seed in range(5)
    ]
    for seed, answer in enumerate(answers):
        assert_same(answer, target.infer(seed=seed))
    for one, other in pairwise(answers):
        assert any(not np.array_equal(values, other[name]) for name, values in one.items())
