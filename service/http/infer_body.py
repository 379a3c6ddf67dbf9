"""Inference over HTTP: JSON with tensors, or with binary tensors behind it, to and from messages.

In the binary tensor extension, the header `Inference-Header-Content-Length` gives the number of
bytes of JSON. The tensors that have a `binary_data_size` follow the JSON, in their order.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from codecs import BOM_UTF8
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic_core import to_json

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.errors import InvalidArgumentError, RequestTooLargeError
from convoy.service.http.messages import parameter_value, set_parameter
from convoy.service.protocol.tensors import DATATYPES, split_elements

LENGTH_HEADER = "inference-header-content-length"

_DTYPES = {datatype: np.dtype(dtype) for dtype, datatype in DATATYPES.items()}

_PARAMETER_FIELDS: dict[type, str] = {
    bool: "bool_param",
    int: "int64_param",
    float: "double_param",
    str: "string_param",
}

_FLAGS = frozenset({"binary_data", "binary_data_output"})

_DATA_URL = re.compile(rb"data:[^,]{0,256};base64,", re.IGNORECASE)
"""Start of a data URL (RFC 2397), in which browsers give images to scripts."""

# Types of JSON values for each kind of dtype.
_ELEMENT_TYPES: dict[str, set[type]] = {
    "b": {bool, int},
    "u": {int},
    "i": {int},
    "f": {int, float},
}

# Reading stops at the first wrong item, and at one too many: pydantic would otherwise describe each
# of millions of them, with a hundred times the memory of the body.
_MOST = 256
_Few = Field(max_length=_MOST, fail_fast=True)

_Parameters = Annotated[
    dict[str, Any],
    Field(max_length=_MOST),
    BeforeValidator(lambda value: {} if value is None else value),
]
"""Parameters; some clients send null for none."""


class _Output(BaseModel):
    name: str
    parameters: _Parameters = {}


class _Input(BaseModel):
    name: str
    datatype: str
    shape: Annotated[list[Annotated[int, Field(strict=True, ge=0, lt=2**31)]], _Few]
    parameters: _Parameters = {}
    data: list[Any] | None = None


class InferBody(BaseModel):
    """The JSON of an inference request."""

    id: Annotated[str, BeforeValidator(lambda value: "" if value is None else value)] = ""
    parameters: _Parameters = {}
    inputs: Annotated[list[_Input], _Few]
    outputs: Annotated[
        list[_Output], _Few, BeforeValidator(lambda value: [] if value is None else value)
    ] = []

    def wants_binary(self, output: str) -> bool:
        """Return whether the client requests this output behind the JSON."""
        # An output's own parameter takes precedence over the request's.
        usual = self.parameters.get("binary_data_output", False)
        asked = (
            one.parameters.get("binary_data", usual) for one in self.outputs if one.name == output
        )
        return bool(next(asked, usual))


def read_infer(
    body: bytes, header_length: str | None, max_json_bytes: int
) -> tuple[InferBody, memoryview]:
    """
    Split a body into its JSON and the tensors behind it.

    Args:
        header_length: Value of `LENGTH_HEADER`; None if the whole body is JSON.

    Raises:
        RequestTooLargeError: If the JSON has more than *max_json_bytes*.
        InvalidArgumentError: If it is not the JSON of an inference request.
    """
    length = len(body)
    # An image, most likely: say where those go, before the size of the supposed JSON.
    if header_length is None and not body.removeprefix(BOM_UTF8).lstrip()[:1] == b"{":
        raise InvalidArgumentError(
            "the body must be a JSON object; to classify an image file, send it to "
            "POST /v1/models/NAME/classify, or in base64 within the JSON"
        )
    if header_length is not None:
        # Python refuses to read very long numbers.
        is_number = header_length.isdecimal() and len(header_length) < 20
        if not is_number or int(header_length) > length:
            raise InvalidArgumentError(
                f"{LENGTH_HEADER} must be a number of bytes, at most the length of the body"
            )
        length = int(header_length)
    # Parsed JSON takes many times its size in memory; tensors behind it do not.
    if length > max_json_bytes:
        raise RequestTooLargeError(
            f"the JSON has {length} bytes; at most {max_json_bytes} are accepted; "
            "send large tensors as binary data"
        )
    # Editors and shells of Windows write the mark; RFC 8259, section 8.1, permits to ignore it.
    text = body[:length].removeprefix(BOM_UTF8)
    try:
        return InferBody.model_validate_json(text), memoryview(body)[length:]
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the body"
        raise InvalidArgumentError(f"{where}: {problem['msg']}") from error


def to_request(
    body: InferBody, binary: memoryview, model: str, version: str
) -> pb.ModelInferRequest:
    """
    Build a request from its parts.

    Raises:
        InvalidArgumentError: If a tensor does not fit its description.
    """
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=body.id)
    _set_parameters(request.parameters, body.parameters)
    for given in body.inputs:
        tensor = request.inputs.add(name=given.name, datatype=given.datatype, shape=given.shape)
        _set_parameters(tensor.parameters, given.parameters)
        size = given.parameters.get("binary_data_size")
        # Case 1: the tensor lies behind the JSON, next in order.
        if size is not None:
            request.raw_input_contents.append(_cut(binary, size, given.name))
            binary = binary[int(size) :]
        # Case 2: its values are in the JSON. Otherwise the protocol refuses it later, as over gRPC.
        elif given.data is not None:
            _set_data(request, tensor, given)
    for wanted in body.outputs:
        output = request.outputs.add(name=wanted.name)
        _set_parameters(output.parameters, wanted.parameters)
    # Bytes that no tensor claims: the client and the server disagree about the sizes.
    if len(binary):
        raise InvalidArgumentError(f"{len(binary)} bytes follow the last tensor")
    return request


def base64_hint(body: InferBody) -> str:
    """Return advice about images that are texts in the JSON; empty if they are base64, or none."""
    plain = (
        one.datatype == "BYTES" and one.data and one.parameters.get("content_type") != "base64"
        for one in body.inputs
    )
    return ': if it is base64, add "parameters": {"content_type": "base64"}' if any(plain) else ""


def from_response(response: pb.ModelInferResponse, body: InferBody) -> tuple[bytes, bytes]:
    """
    Return the JSON of an answer, and the tensors that the client requests behind it.

    Numbers that are not finite become the texts "NaN", "Infinity" and "-Infinity", as in protobuf's
    JSON.
    """
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        described: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.shape),
        }
        if body.wants_binary(output.name):
            described["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            described["data"] = _values(output, raw)
        outputs.append(described)
    answer = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        **({"id": response.id} if response.id else {}),
        "parameters": {key: parameter_value(one) for key, one in response.parameters.items()},
        "outputs": outputs,
    }
    # JSON has no such numbers: a bare NaN is read by Python, and by no browser.
    return to_json(answer, inf_nan_mode="strings"), b"".join(binary)


def _set_parameters(target: Any, parameters: _Parameters) -> None:
    for name, value in parameters.items():
        # A text such as "false" would count as true.
        if name in _FLAGS and not isinstance(value, bool):
            raise InvalidArgumentError(f"parameter {name!r} must be a boolean")
        set_parameter(target, name, value, _PARAMETER_FIELDS)


def _cut(binary: memoryview, size: object, name: str) -> bytes:
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(binary):
        raise InvalidArgumentError(
            f"input {name[:64]!r}: binary_data_size is {str(size)[:32]}, "
            f"but {len(binary)} bytes are left"
        )
    return bytes(binary[:size])


def _set_data(
    request: pb.ModelInferRequest, tensor: pb.ModelInferRequest.InferInputTensor, given: _Input
) -> None:
    """Put the values of the JSON into the message: texts as elements, numbers as raw bytes."""
    assert given.data is not None
    if given.datatype == "BYTES":
        in_base64 = given.parameters.get("content_type") == "base64"
        items = np.asarray(given.data, object).ravel()
        tensor.contents.bytes_contents.extend(_element(item, in_base64) for item in items)
        return
    if given.datatype not in _DTYPES:
        raise InvalidArgumentError(f"unknown datatype {given.datatype[:16]!r}")
    request.raw_input_contents.append(_numbers(given.data, _DTYPES[given.datatype], given.name))


def _element(item: object, in_base64: bool) -> bytes:
    if not isinstance(item, str):
        raise InvalidArgumentError("an element of BYTES must be a string")
    try:
        return _from_base64(item) if in_base64 else item.encode()
    except (binascii.Error, ValueError) as error:
        raise InvalidArgumentError("an element of BYTES is not base64") from error


def _from_base64(text: str) -> bytes:
    """Decode base64, which may be in lines, and may be that of a data URL."""
    encoded = text.encode("ascii").translate(None, b" \t\r\n")
    start = _DATA_URL.match(encoded)
    return b64decode(encoded[start.end() :] if start else encoded, validate=True)


def _numbers(data: list[Any], dtype: np.dtype[Any], name: str) -> bytes:
    """Return values, flat or nested, as raw bytes of *dtype*; floats are rounded to the nearest."""
    # As objects: with one text among them, numpy would make all of them texts as long as that one.
    values = np.asarray(data, object).ravel()
    problem = f"data of input {name[:64]!r}"
    if not _ELEMENT_TYPES[dtype.kind].issuperset(map(type, values)):
        raise InvalidArgumentError(f"{problem}: expected {dtype} values, in rows of one length")
    try:
        with np.errstate(over="raise"):
            exact = values.astype(dtype)
    except ArithmeticError as error:
        raise InvalidArgumentError(f"{problem}: a value is out of range for {dtype}") from error
    # numpy takes any number for a bool; only 0 and 1 are.
    if dtype.kind == "b" and not np.array_equal(exact, values):
        raise InvalidArgumentError(f"{problem}: a value is out of range for {dtype}")
    return exact.tobytes()


def _values(output: pb.ModelInferResponse.InferOutputTensor, raw: bytes) -> list[Any]:
    if output.datatype == "BYTES":
        count = int(np.prod(output.shape))
        return [element.decode() for element in split_elements(raw, count)]
    values: list[Any] = np.frombuffer(raw, _DTYPES[output.datatype]).tolist()
    return values
