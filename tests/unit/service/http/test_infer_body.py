import base64
import json
import math
import struct
from typing import Any

import numpy as np
import pytest

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.errors import InvalidArgumentError, RequestTooLargeError
from convoy.service.http.infer_body import from_response, read_infer, to_request

MAX_JSON = 1_000_000


def tensor(**changes: Any) -> dict[str, Any]:
    """The JSON of one input."""
    fields = {"name": "image", "datatype": "UINT8", "shape": [1, 2, 2, 1], "data": [1, 2, 3, 4]}
    return {key: value for key, value in (fields | changes).items() if value is not ...}


def read(sent: Any, binary: bytes = b"", header: str | None = None) -> pb.ModelInferRequest:
    """The request that a body stands for; *sent* is the JSON, as a text or as data."""
    text = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    if binary and header is None:
        header = str(len(text))
    body, rest = read_infer(text + binary, header, MAX_JSON)
    return to_request(body, rest, "tiny", "1")


def one_input(**changes: Any) -> pb.ModelInferRequest:
    return read({"inputs": [tensor(**changes)]})


def elements(*values: bytes) -> bytes:
    """Raw BYTES."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def test_json() -> None:
    """
    JSON becomes the message that a gRPC client would send: numbers raw, the rest as it is.
    """
    request = read(
        {
            "id": "r-1",
            "parameters": {"priority": 1, "timeout": 5, "note": "x", "rate": 0.5, "flag": True},
            "inputs": [tensor(parameters={"unit": "px"})],
            "outputs": [{"name": "logits", "parameters": {"classification": 3}}],
            "something else": [1],
        }
    )
    assert (request.model_name, request.model_version, request.id) == ("tiny", "1", "r-1")
    assert list(request.raw_input_contents) == [b"\1\2\3\4"]
    (given,) = request.inputs
    assert (given.name, given.datatype, list(given.shape)) == ("image", "UINT8", [1, 2, 2, 1])
    assert not given.HasField("contents")
    assert given.parameters["unit"].string_param == "px"
    (wanted,) = request.outputs
    assert wanted.name == "logits"
    assert wanted.parameters["classification"].int64_param == 3
    kinds = {
        name: value.WhichOneof("parameter_choice") for name, value in request.parameters.items()
    }
    assert kinds == {
        "priority": "int64_param",
        "timeout": "int64_param",
        "note": "string_param",
        "rate": "double_param",
        "flag": "bool_param",
    }


@pytest.mark.parametrize(
    "data",
    [
        [1, 2, 3, 4],
        [[1, 2], [3, 4]],
        [[[[1], [2]], [[3], [4]]]],
    ],
)
def test_flat_or_nested(data: list[Any]) -> None:
    """
    Data may be nested as its shape says, or flat.
    """
    assert list(one_input(data=data).raw_input_contents) == [b"\1\2\3\4"]


@pytest.mark.parametrize(
    ("datatype", "data", "dtype", "expected"),
    [
        ("UINT8", [0, 255], "uint8", [0, 255]),
        ("INT32", [-(2**31), 2**31 - 1], "int32", [-(2**31), 2**31 - 1]),
        ("INT64", [-(2**63), 2**63 - 1], "int64", [-(2**63), 2**63 - 1]),
        ("FP32", [0.1, 1, -2, 2**70], "float32", [0.1, 1, -2, 2**70]),
        ("FP32", [1e-60, -0.0], "float32", [0.0, -0.0]),
        ("FP64", [0.1, 2**53], "float64", [0.1, 2**53]),
        ("FP16", [0.1, 65504], "float16", [0.1, 65504]),
        ("FP32", [math.inf, -math.inf], "float32", [math.inf, -math.inf]),
        ("BOOL", [True, False, 1, 0], "bool", [True, False, True, False]),
    ],
)
def test_numbers(datatype: str, data: list[Any], dtype: str, expected: list[Any]) -> None:
    """
    Numbers become what numpy makes of them, to the limits of their type.
    """
    (raw,) = one_input(datatype=datatype, shape=[len(data)], data=data).raw_input_contents
    assert raw == np.array(expected, dtype).tobytes()


def test_nan() -> None:
    """
    NaN is a float, as Python's own JSON writes it.
    """
    (raw,) = one_input(datatype="FP32", data=[math.nan]).raw_input_contents
    assert math.isnan(np.frombuffer(raw, np.float32)[0])


@pytest.mark.parametrize(
    ("datatype", "data", "message"),
    [
        ("UINT8", [256], "out of range for uint8"),
        ("UINT8", [-1], "out of range for uint8"),
        ("UINT8", [2**70], "out of range for uint8"),
        ("UINT8", [1.0], "expected uint8 values"),
        ("UINT8", [1.5], "expected uint8 values"),
        ("UINT8", [math.nan], "expected uint8 values"),
        ("UINT8", [True], "expected uint8 values"),
        ("UINT8", ["1"], "expected uint8 values"),
        ("UINT8", [1, "1"], "expected uint8 values"),
        ("UINT8", [None], "expected uint8 values"),
        ("UINT8", [{}], "expected uint8 values"),
        ("UINT8", [[1], [2, 3]], "in rows of one length"),
        ("UINT8", [1, [2]], "in rows of one length"),
        ("INT32", [2**31], "out of range for int32"),
        ("INT64", [2**63], "out of range for int64"),
        ("INT64", [-(2**63) - 1], "out of range for int64"),
        ("FP32", [1e39], "out of range for float32"),
        ("FP32", [10**400], "out of range for float32"),
        ("FP32", ["NaN"], "expected float32 values"),
        ("FP32", [True], "expected float32 values"),
        ("FP16", [65520], "out of range for float16"),
        ("BOOL", [2], "out of range for bool"),
        ("BOOL", [0.0], "expected bool values"),
        ("UINT16", [1], "unknown datatype 'UINT16'"),
        ("uint8", [1], "unknown datatype 'uint8'"),
        ("", [1], "unknown datatype ''"),
        ("BYTES", [1], "must be a string"),
        ("BYTES", [None], "must be a string"),
        ("BYTES", [["a"], ["b", "c"]], "must be a string"),
        ("BYTES", ["a", ["b"]], "must be a string"),
    ],
)
def test_wrong_elements(datatype: str, data: list[Any], message: str) -> None:
    """
    Nothing is rounded, cut, parsed or guessed to fit.
    """
    with pytest.raises(InvalidArgumentError, match=message):
        one_input(datatype=datatype, data=data)


def test_one_text_among_numbers_costs_no_memory() -> None:
    """
    A long text among many numbers is refused; numpy would make each number as wide as the text.
    """
    wide, many = 200_000, 100_000  # 80 GB
    with pytest.raises(InvalidArgumentError, match="expected uint8 values"):
        one_input(data=["x" * wide, *[1] * many])


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ("inputs.0", b'{"inputs": [%s]}' % b",".join([b"1"] * 400_000)),
        ("outputs.0", b'{"inputs": [], "outputs": [%s]}' % b",".join([b"1"] * 400_000)),
        ("inputs.0.shape.0", b'{"inputs": [{"name": "", "datatype": "", "shape": [%s]}]}'
            % b",".join([b'""'] * 300_000)),
        ("parameters", b'{"inputs": [], "parameters": {%s}}'
            % b",".join(b'"%d":[]' % number for number in range(60_000))),
    ],
)  # fmt: skip
def test_a_hundred_thousand_mistakes_are_one_error(
    monkeypatch: pytest.MonkeyPatch, where: str, wrong: bytes
) -> None:
    """
    The first mistake ends the reading: describing each would take many times the body's memory.
    """
    with pytest.raises(InvalidArgumentError, match=f"^{where}: ") as failed:
        read_infer(wrong, None, len(wrong))
    assert failed.value.__cause__.error_count() == 1  # type: ignore[union-attr]


def test_many_outputs_and_dimensions() -> None:
    """
    No model has hundreds of tensors, or a tensor hundreds of dimensions.
    """
    with pytest.raises(InvalidArgumentError, match="outputs: List should have at most 256"):
        read({"inputs": [tensor()], "outputs": [{"name": "logits"}] * 257})
    with pytest.raises(InvalidArgumentError, match="inputs: List should have at most 256"):
        read({"inputs": [tensor()] * 257})
    with pytest.raises(InvalidArgumentError, match=r"shape: List should have at most 256"):
        one_input(shape=[1] * 257)


def test_bytes_as_text() -> None:
    """
    Elements of BYTES are texts in UTF-8, nested or flat.
    """
    for data in (["one", "zwölf"], [["one"], ["zwölf"]]):
        (given,) = one_input(datatype="BYTES", shape=[2], data=data).inputs
        assert list(given.contents.bytes_contents) == [b"one", "zwölf".encode()]


def test_bytes_in_base64() -> None:
    """
    With `content_type` base64 elements may be any bytes.
    """
    texts = [base64.b64encode(data).decode() for data in (b"\xff\xd8", b"")]
    (given,) = one_input(
        datatype="BYTES", shape=[2], data=texts, parameters={"content_type": "base64"}
    ).inputs
    assert list(given.contents.bytes_contents) == [b"\xff\xd8", b""]


@pytest.mark.parametrize("start", ["", "data:image/png;base64,", "DATA:;charset=x;Base64,", " "])
def test_base64_in_lines_and_data_urls(start: str) -> None:
    """
    Base64 may be wrapped, as programs write it, and may be a data URL, as browsers have it.
    """
    data = bytes(range(200))
    for text in (base64.encodebytes(data).decode(), f"{base64.b64encode(data).decode()}\r\n"):
        (given,) = one_input(
            datatype="BYTES", data=[start + text], parameters={"content_type": "base64"}
        ).inputs
        assert list(given.contents.bytes_contents) == [data]


def test_byte_order_mark() -> None:
    """
    A byte order mark before the JSON is ignored; the length of the JSON counts it.
    """
    text = json.dumps({"inputs": [tensor(data=..., parameters={"binary_data_size": 2})]}).encode()
    marked = b"\xef\xbb\xbf" + text
    assert read(marked, b"\xef\xbb") == read(text, b"\xef\xbb")
    assert read(b"\xef\xbb\xbf" + json.dumps({"inputs": [tensor()]}).encode()) == one_input()


@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "a",
        "####",
        "ab,cd",
        "aGk=x",
        "ähem",
        "AA\0AA",
        "data:image/png,abcd",
        "data:;base64,a",
    ],
)
def test_bytes_not_in_base64(text: str) -> None:
    """
    Text that is declared as base64 must be base64.
    """
    with pytest.raises(InvalidArgumentError, match="is not base64"):
        one_input(datatype="BYTES", data=[text], parameters={"content_type": "base64"})


def test_binary() -> None:
    """
    Tensors behind the JSON are cut by their sizes, in their order; JSON ones may be among them.
    """
    request = read(
        {
            "inputs": [
                tensor(data=..., parameters={"binary_data_size": 4}),
                tensor(name="b", data=[9, 9]),
                tensor(name="c", datatype="BYTES", data=..., parameters={"binary_data_size": 5}),
                tensor(name="d", data=..., parameters={"binary_data_size": 0}),
            ]
        },
        b"\1\2\3\4" + elements(b"x"),
    )
    assert list(request.raw_input_contents) == [b"\1\2\3\4", b"\t\t", elements(b"x"), b""]


def test_binary_counts_where_both_are_given() -> None:
    """
    A tensor with a binary size is read behind the JSON, even if it has data.
    """
    request = read({"inputs": [tensor(parameters={"binary_data_size": 1})]}, b"\7")
    assert list(request.raw_input_contents) == [b"\7"]


@pytest.mark.parametrize(
    "size", [5, -1, True, False, 4.0, "4", 2**62, 2**63, 2**70, -(2**63), [4], {}, None]
)
def test_wrong_binary_size(size: Any) -> None:
    """
    A size must be an integer, and that many bytes must be there.
    """
    with pytest.raises(InvalidArgumentError):
        read({"inputs": [tensor(data=..., parameters={"binary_data_size": size})]}, bytes(4))


def test_binary_size_without_binary() -> None:
    """
    Without the header that says where the JSON ends there are no bytes to cut.
    """
    with pytest.raises(InvalidArgumentError, match="0 bytes are left"):
        one_input(data=..., parameters={"binary_data_size": 4})


def test_bytes_left_over() -> None:
    """
    Bytes that belong to no tensor are an error.
    """
    with pytest.raises(InvalidArgumentError, match="1 bytes follow the last tensor"):
        read({"inputs": [tensor(data=..., parameters={"binary_data_size": 4})]}, bytes(5))
    with pytest.raises(InvalidArgumentError, match="4 bytes follow the last tensor"):
        read({"inputs": [tensor()]}, bytes(4))


@pytest.mark.parametrize(
    "header", ["", "x", "-1", "+1", "1.0", "0x10", "1e2", "99999", "²", "9" * 20, "9" * 5000]
)
def test_wrong_header(header: str) -> None:
    """
    The length of the JSON must be a number, and no more than there is.
    """
    with pytest.raises(InvalidArgumentError, match="must be a number of bytes, at most the length"):
        read({"inputs": [tensor()]}, header=header)


@pytest.mark.parametrize("wrong_by", [-1, 1, -50])
def test_header_that_is_off(wrong_by: int) -> None:
    """
    A length that ends within the JSON, or within a tensor, is found out.
    """
    text = json.dumps({"inputs": [tensor(data=..., parameters={"binary_data_size": 4})]}).encode()
    with pytest.raises(InvalidArgumentError):
        read(text, b"{}{}", header=str(len(text) + wrong_by))


def test_header_without_binary() -> None:
    """
    A header that says that all is JSON changes nothing.
    """
    text = json.dumps({"inputs": [tensor()]}).encode()
    assert read(text, header=str(len(text))) == read(text)
    assert read(text, header=f"{len(text):019}") == read(text)


def test_json_limit() -> None:
    """
    The limit on JSON counts the JSON alone, not the tensors behind it.
    """
    text = json.dumps({"inputs": [tensor(data=..., parameters={"binary_data_size": 999})]}).encode()
    body, binary = read_infer(text + bytes(999), str(len(text)), len(text))
    assert len(to_request(body, binary, "tiny", "").raw_input_contents[0]) == 999
    with pytest.raises(RequestTooLargeError, match="send large tensors as binary data"):
        read_infer(text + bytes(999), str(len(text)), len(text) - 1)
    with pytest.raises(RequestTooLargeError):
        read_infer(text, None, len(text) - 1)


WRONG_JSON: list[tuple[bytes, str]] = [
    (b"", "must be a JSON object"),
    (b"   ", "must be a JSON object"),
    (b"{", "Invalid JSON"),
    (b"\x00", "must be a JSON object"),
    (b"\xff\xfe", "must be a JSON object"),
    (b"\xef\xbb\xbf{}", "inputs: Field required"),
    (b"\xef\xbb\xbf" * 2 + b"{}", "must be a JSON object"),
    (b"{'inputs': []}", "Invalid JSON"),
    (b'{"inputs": [],}', "Invalid JSON"),
    (b'{"inputs": []} x', "Invalid JSON"),
    (b'{"inputs": []}{}', "Invalid JSON"),
    (b'{"inputs": [\n// comment\n]}', "Invalid JSON"),
    (b'{"id": "\xff", "inputs": []}', "Invalid JSON"),
    (b'{"id": "\\ud800", "inputs": []}', "Invalid JSON"),
    (b'{"id": "\\udc00\\ud800", "inputs": []}', "Invalid JSON"),
    (b'{"id": "\x01", "inputs": []}', "Invalid JSON"),
    (b"[" * 100_000, "must be a JSON object"),
    (b'{"inputs":' * 100_000, "recursion limit"),
    (b'{"inputs": [], "parameters": {"a": %s}}' % (b"9" * 5000), "number out of range"),
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b"NaN", "must be a JSON object"),
    (b'"inputs"', "must be a JSON object"),
    (b"{}", "inputs: Field required"),
    (b'{"inputs": null}', "inputs: Input should be a valid array"),
    (b'{"inputs": {}}', "inputs: Input should be a valid array"),
    (b'{"inputs": "image"}', "inputs: Input should be a valid array"),
    (b'{"inputs": [null]}', r"inputs\.0: "),
    (b'{"inputs": [[]]}', r"inputs\.0: "),
    (b'{"inputs": [{}]}', r"inputs\.0\.name: Field required"),
    (b'{"inputs": [], "id": 7}', "id: Input should be a valid string"),
    (b'{"inputs": [], "outputs": {}}', "outputs: Input should be a valid array"),
    (b'{"inputs": [], "outputs": ["logits"]}', r"outputs\.0: "),
    (b'{"inputs": [], "outputs": [{}]}', r"outputs\.0\.name: Field required"),
    (b'{"inputs": [], "outputs": [{"name": 1}]}', r"outputs\.0\.name: "),
    (b'{"inputs": [], "parameters": []}', "parameters: Input should be an object"),
    (
        b'{"inputs": [], "parameters": {"a": null}}',
        "parameter 'a' must be a boolean, a number or a string",
    ),
    (b'{"inputs": [], "parameters": {"a": [1]}}', "parameter 'a' must be a boolean"),
    (b'{"inputs": [], "parameters": {"a": {}}}', "parameter 'a' must be a boolean"),
    (b'{"inputs": [], "parameters": {"a": 9223372036854775808}}', "parameter 'a' is out of range"),
    (b'{"inputs": [], "parameters": {"a": %s}}' % (b"9" * 4000), "parameter 'a' is out of range"),
    (b'{"inputs": [], "parameters": {"a\\n": []}}', r"parameter 'a\\n' must be a boolean"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "message"), WRONG_JSON)
def test_wrong_json(sent: bytes, message: str) -> None:
    """
    A body that is not the JSON of a request is refused, and the message says where.
    """
    with pytest.raises(InvalidArgumentError, match=message):
        read(sent)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ...),
        ("name", None),
        ("name", 1),
        ("datatype", ...),
        ("datatype", 8),
        ("shape", ...),
        ("shape", None),
        ("shape", 4),
        ("shape", "1,2"),
        ("shape", [-1, 2, 2, 1]),
        ("shape", [2**31]),
        ("shape", [2**63]),
        ("shape", [2**70]),
        ("shape", [1.0]),
        ("shape", [1.5]),
        ("shape", ["1"]),
        ("shape", [True]),
        ("shape", [None]),
        ("shape", [[1]]),
        ("data", 1),
        ("data", "1"),
        ("data", {}),
        ("parameters", []),
    ],
)
def test_wrong_fields(field: str, value: Any) -> None:
    """
    A field of an input that is missing or of another type is refused.
    """
    with pytest.raises(InvalidArgumentError, match=field):
        one_input(**{field: value})


def test_messages_are_short() -> None:
    """
    An error repeats no more of the request than a line, and no line break of it.
    """
    long = "x\n" * 5000
    for wrong in (
        {"inputs": [], "parameters": {long: []}},
        {"inputs": [], "parameters": {long: 2**70}},
        {"inputs": [tensor(name=long, data=[-1])]},
        {"inputs": [tensor(name=long, parameters={"binary_data_size": 10**4000})]},
        {"inputs": [tensor(name=long, parameters={"binary_data_size": "9" * 4000})]},
        {"inputs": [tensor(datatype=long)]},
        {"inputs": [{long: 1}]},
    ):
        with pytest.raises(InvalidArgumentError) as failed:
            read(wrong)
        assert len(str(failed.value)) < 250
        assert "\n" not in str(failed.value)


@pytest.mark.parametrize("depth", [65, 150])
def test_deeply_nested_data(depth: int) -> None:
    """
    Data that is nested deeper than any tensor is refused.
    """
    nested = b"[" * depth + b"1" + b"]" * depth
    for datatype in (b"UINT8", b"BYTES"):
        text = b'{"inputs":[{"name":"image","shape":[1],"datatype":"%s","data":%s}]}'
        with pytest.raises(InvalidArgumentError):
            read(text % (datatype, nested))


def test_duplicate_keys() -> None:
    """
    The last of two equal keys counts, as in Python.
    """
    request = read(b'{"id": "a", "id": "b", "inputs": [], "inputs": []}')
    assert request.id == "b"


def test_no_data() -> None:
    """
    An input without data is passed on without any; the model decides if it may.
    """
    request = one_input(data=...)
    assert not request.raw_input_contents
    assert not request.inputs[0].HasField("contents")
    assert list(one_input(data=[]).raw_input_contents) == [b""]


def response() -> pb.ModelInferResponse:
    """An answer with floats, and with classes."""
    made = pb.ModelInferResponse(model_name="tiny", model_version="1", id="r-1")
    made.parameters["model_sha256"].string_param = "abc"
    values = np.array([[0.1, -2.5e-38, math.inf]], np.float32)
    made.outputs.add(name="logits", datatype="FP32", shape=values.shape)
    made.raw_output_contents.append(values.tobytes())
    made.outputs.add(name="best", datatype="BYTES", shape=[1, 2])
    made.raw_output_contents.append(elements(b"0.9:1:one", "0.1:2:zwölf".encode()))
    return made


def answer(asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """JSON and tensors of `response`, for a client that asked so."""
    body, _ = read_infer(json.dumps({"inputs": []} | asked).encode(), None, MAX_JSON)
    text, binary = from_response(response(), body)
    return json.loads(text), binary


FLOATS, TEXTS = response().raw_output_contents


@pytest.mark.parametrize("value", [0, 1, 1.0, "true", "", None, [], [True]])
def test_flags_are_booleans(value: Any) -> None:
    """
    `binary_data` must be a boolean, and no value that Python takes for one.
    """
    for wrong in (
        {"parameters": {"binary_data_output": value}},
        {"outputs": [{"name": "logits", "parameters": {"binary_data": value}}]},
    ):
        with pytest.raises(InvalidArgumentError, match="must be a boolean"):
            read({"inputs": [tensor()]} | wrong)


def test_answer_in_json() -> None:
    """
    Each value comes back in JSON, exactly; texts as texts.
    """
    told, binary = answer({})
    assert binary == b""
    assert (told["model_name"], told["model_version"], told["id"]) == ("tiny", "1", "r-1")
    assert told["parameters"] == {"model_sha256": "abc"}
    floats, texts = told["outputs"]
    assert (floats["name"], floats["datatype"], floats["shape"]) == ("logits", "FP32", [1, 3])
    assert np.array(floats["data"], np.float32).tobytes() == FLOATS
    assert (texts["name"], texts["datatype"], texts["shape"]) == ("best", "BYTES", [1, 2])
    assert texts["data"] == ["0.9:1:one", "0.1:2:zwölf"]
    assert not any("parameters" in output for output in told["outputs"])


def test_answer_without_identifier() -> None:
    """
    The answer to a request without an identifier has none.
    """
    made = response()
    made.id = ""
    body, _ = read_infer(b'{"inputs": []}', None, MAX_JSON)
    assert "id" not in json.loads(from_response(made, body)[0])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"parameters": {"binary_data_output": True}}, [FLOATS, TEXTS]),
        ({"parameters": {"binary_data_output": False}}, []),
        ({"outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}, [FLOATS]),
        ({"outputs": [{"name": "best", "parameters": {"binary_data": True}}]}, [TEXTS]),
        ({"outputs": [{"name": "other", "parameters": {"binary_data": True}}]}, []),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [
                    {"name": "logits", "parameters": {"binary_data": False}},
                    {"name": "best"},
                ],
            },
            [TEXTS],
        ),
    ],
)
def test_answer_in_binary(asked: dict[str, Any], expected: list[bytes]) -> None:
    """
    An output is binary if the client asks so for it, or for all; the order stays.
    """
    told, binary = answer(asked)
    assert binary == b"".join(expected)
    sizes = [
        output["parameters"]["binary_data_size"]
        for output in told["outputs"]
        if "parameters" in output
    ]
    assert sizes == [len(part) for part in expected]
    assert sum("data" in output for output in told["outputs"]) == 2 - len(expected)


def test_null_is_left_out() -> None:
    """
    A client may write null for a field that it could leave out.
    """
    optional = {"parameters": None, "outputs": None, "id": None}
    sent = {"inputs": [tensor() | {"parameters": None}], **optional}
    assert read(sent) == one_input()
