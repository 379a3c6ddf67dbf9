"""REST tensors: a wrong body is 400, one too large 413, and the server goes on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.conformance.rest import LENGTH_HEADER, binary_body
from tests.conformance.target import BAD_REQUEST, NOWHERE, Target

pytestmark = pytest.mark.rest

binary = pytest.mark.extension("binary_tensor_data")

Body = dict[str, Any]

PATIENCE_S = 2.0
"""Time to wait for the refusal of a body before it is sent."""

BEYOND_BYTES = 2**33
"""Size of a body that no server takes."""


@pytest.fixture(autouse=True)
def goes_on(target: Target) -> Iterator[None]:
    """Require that the server answers after any request."""
    yield
    target.assert_serves()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"inputs"',
        b"{}",
        b'{"inputs": null}',
        b'{"inputs": {}}',
        b'{"inputs": [1]}',
        b'{"inputs": [{}]}',
        b'{"inputs": []} and more',
        b"\xff\xfe\x00{",
        b"<inputs/>",
        b'{"inputs": ' + b"[" * 100_000,
    ],
    ids=lambda body: body[:24].decode("ascii", "replace"),
)
def test_malformed_json(target: Target, body: bytes) -> None:
    """A body that is not the JSON of a request is 400 (OIP REST, error responses)."""
    answer = target.rest.post(target.path("/infer"), body)
    assert answer.status in BAD_REQUEST
    assert answer.json["error"]


def _deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(500):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    "change",
    [
        {"name": NOWHERE},
        {"name": 7},
        {"datatype": "NONE"},
        {"datatype": ""},
        {"shape": "1"},
        {"shape": []},
        {"shape": [-1]},
        {"shape": [1.5]},
        {"shape": [2**62, 2**62]},
        {"data": None},
        {"data": []},
        {"data": "text"},
        {"data": {"0": 1}},
        {"data": [[1], [1, 2]]},
        {"data": [None]},
        {"data": _deep()},
        {"parameters": []},
    ],
    ids=lambda change: str(change)[:32],
)
def test_wrong_tensor(target: Target, change: Body) -> None:
    """An input that does not fit its description, or the model, is 400."""
    body = target.body()
    body["inputs"][0] |= change
    assert target.rest.post(target.path("/infer"), body).status in BAD_REQUEST


def wrong_elements(datatype: str) -> list[object]:
    """Return values that are not of the datatype."""
    if datatype == "BYTES":
        return [1, None]
    wrong: list[object] = ["1", None, [1]]
    if datatype.startswith("UINT"):
        wrong += [0.5, -1, 2 ** int(datatype.removeprefix("UINT"))]
    elif datatype.startswith("INT"):
        wrong += [0.5, 2 ** (int(datatype.removeprefix("INT")) - 1)]
    return wrong


def test_wrong_element(target: Target) -> None:
    """An element that is no value of the datatype is 400: nothing is rounded or wrapped."""
    for value in wrong_elements(target.inputs[0].datatype):
        body = target.body()
        body["inputs"][0]["data"][0] = value
        assert target.rest.post(target.path("/infer"), body).status in BAD_REQUEST, value


@pytest.mark.parametrize("missing", ["name", "datatype", "shape", "data"])
def test_missing_key(target: Target, missing: str) -> None:
    """An input without one of its parts is 400 (OIP REST, request input)."""
    body = target.body()
    del body["inputs"][0][missing]
    assert target.rest.post(target.path("/infer"), body).status in BAD_REQUEST


@binary
@pytest.mark.parametrize("length", ["-1", "x", "1", "999999999", "1e3", ""])
def test_wrong_header_length(target: Target, length: str) -> None:
    """A header that is not the JSON's length is 400 (binary_tensor_data)."""
    body, _ = binary_body(target.tensors())
    answer = target.rest.post(target.path("/infer"), body, **{LENGTH_HEADER: length})
    assert answer.status in BAD_REQUEST


@binary
@pytest.mark.parametrize(
    "size", [0, -1, 2**62, 1.5, "1", True, None], ids=lambda size: f"size {size}"
)
def test_wrong_binary_size(target: Target, size: object) -> None:
    """A size that is not that of the bytes behind the JSON is 400 (binary_tensor_data)."""
    tensors = target.tensors()
    body, headers = binary_body(tensors)
    length = int(headers[LENGTH_HEADER])
    described = json.loads(body[:length])
    described["inputs"][0]["parameters"]["binary_data_size"] = size
    text = json.dumps(described).encode()
    answer = target.rest.post(
        target.path("/infer"), text + body[length:], **{LENGTH_HEADER: str(len(text))}
    )
    assert answer.status in BAD_REQUEST


@binary
@pytest.mark.parametrize("change", [lambda body: body + b"\0", lambda body: body[:-1]])
def test_bytes_left_over(target: Target, change: Callable[[bytes], bytes]) -> None:
    """A byte more or less than the tensors have is 400 (binary_tensor_data)."""
    body, headers = binary_body(target.tensors())
    assert target.rest.post(target.path("/infer"), change(body), **headers).status in BAD_REQUEST


@binary
@pytest.mark.parametrize("value", ["yes", 1])
@pytest.mark.parametrize("name", ["binary_data_output", "binary_data"])
def test_wrong_binary_flag(target: Target, name: str, value: object) -> None:
    """A flag that is no boolean is 400 (binary_tensor_data)."""
    body = target.body(outputs=[{"name": target.outputs[0].name}])
    holder = body if name == "binary_data_output" else body["outputs"][0]
    holder["parameters"] = {name: value}
    assert target.rest.post(target.path("/infer"), body).status in BAD_REQUEST


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("part", [0, 20, -1])
def test_damaged_packing(target: Target, encoding: str, part: int) -> None:
    """A body that does not unpack, or ends too early, is 400."""
    packed = gzip.compress(json.dumps(target.body()).encode())[:part] + (b"" if part else b"no")
    answer = target.rest.post(target.path("/infer"), packed, Content_Encoding=encoding)
    assert answer.status in BAD_REQUEST


def test_unknown_packing(target: Target) -> None:
    """A body packed in a way that the server does not know is a client's error (HTTP)."""
    answer = target.rest.post(target.path("/infer"), b"x" * 100, Content_Encoding="zstd")
    assert answer.status in {*BAD_REQUEST, 415}


def test_too_large(target: Target) -> None:
    """A body whose declared size is beyond all measure is refused before it comes (HTTP 413)."""
    with closing(target.rest.connection()) as connection:
        connection.putrequest("POST", target.path("/infer"))
        connection.putheader("Content-Length", str(BEYOND_BYTES))
        connection.endheaders()
        assert connection.sock is not None
        connection.sock.settimeout(PATIENCE_S)
        try:
            assert connection.getresponse().status in {*BAD_REQUEST, 413}
        except TimeoutError:
            pytest.skip("the server waits for a body of 8 GiB")


def test_grows_too_large(target: Target) -> None:
    """A small body that unpacks to a huge one is refused (HTTP 413, or 400 as in Triton)."""
    packed = gzip.compress(b" " * 2**28, 1)
    answer = target.rest.post(target.path("/infer"), packed, Content_Encoding="gzip")
    assert answer.status in {*BAD_REQUEST, 413}
