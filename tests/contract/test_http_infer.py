"""Inference over HTTP: in JSON, in binary, in every mix, and always as over gRPC."""

import base64
import json
import struct
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from convoy.artifact.golden import Golden
from convoy.artifact.manifest import Normalization, OutputTensor
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.protocol.tensors import DATATYPES
from tests.harness import tiny
from tests.harness.calls import INFER, check_error, classes
from tests.harness.http import Answer, Connection, ask
from tests.harness.images import png
from tests.harness.server import Running, Serve

LENGTH = "inference-header-content-length"

DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}

TIMING = {"decode_us", "queue_us", "inference_us", "respond_us", "batch_size", "provider"}

Outputs = dict[str, tuple[str, list[int], bytes]]


class Client(Connection):
    """A client that infers, and reads answers in JSON, in binary, and mixed."""

    async def infer(
        self,
        *inputs: dict[str, Any],
        binary: bytes = b"",
        path: str = "/v2/models/tiny/infer",
        **fields: Any,
    ) -> Answer:
        """Send a request of these inputs, with *binary* behind it."""
        text = json.dumps({"inputs": inputs} | fields).encode()
        headers = {LENGTH: str(len(text))} if binary else {}
        return await self.ask("POST", path, text + binary, headers)


def read(answer: Answer) -> Outputs:
    """Data type, shape and raw bytes of each output, by name; in the order of the answer."""
    assert answer.status == 200, answer.body
    length = int(answer.headers.get(LENGTH, len(answer.body)))
    is_binary = length < len(answer.body)
    kind = "application/octet-stream" if is_binary else "application/json"
    assert answer.headers["content-type"] == kind
    binary = memoryview(answer.body)[length:]
    outputs: Outputs = {}
    for output in json.loads(answer.body[:length])["outputs"]:
        if "data" in output:
            raw = raw_of(output["datatype"], output["data"])
        else:
            size = output["parameters"]["binary_data_size"]
            raw, binary = bytes(binary[:size]), binary[size:]
        outputs[output["name"]] = (output["datatype"], output["shape"], raw)
    assert not binary
    return outputs


def raw_of(datatype: str, data: list[Any]) -> bytes:
    if datatype == "BYTES":
        return elements(*(text.encode() for text in data))
    return np.array(data, DTYPES[datatype]).tobytes()


def elements(*values: bytes) -> bytes:
    """Raw BYTES."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


async def over_grpc(running: Running, request: pb.ModelInferRequest) -> Outputs:
    """Return the outputs over gRPC."""
    response = await running.inference.ModelInfer(request)
    return {
        output.name: (output.datatype, list(output.shape), raw)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def pixels_request(*firsts: int) -> pb.ModelInferRequest:
    batch = np.concatenate([tiny.pixels(first) for first in firsts])
    request = pb.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="image", datatype="UINT8", shape=batch.shape)
    request.raw_input_contents.append(batch.tobytes())
    return request


def pixels_inputs(*firsts: int) -> list[tuple[dict[str, Any], bytes]]:
    """The same pixels in every form: flat, nested, binary."""
    batch = np.concatenate([tiny.pixels(first) for first in firsts])
    image = {"name": "image", "datatype": "UINT8", "shape": list(batch.shape)}
    raw = batch.tobytes()
    return [
        (image | {"data": batch.ravel().tolist()}, b""),
        (image | {"data": batch.tolist()}, b""),
        (image | {"parameters": {"binary_data_size": len(raw)}}, raw),
    ]


def images_inputs(*images: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """The same images in every form: base64 of either shape, binary."""
    image: dict[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [len(images)]}
    texts = [base64.b64encode(data).decode() for data in images]
    as_base64 = {"parameters": {"content_type": "base64"}}
    raw = elements(*images)
    return [
        (image | as_base64 | {"data": texts}, b""),
        (image | as_base64 | {"shape": [len(images), 1], "data": [[text] for text in texts]}, b""),
        (image | {"parameters": {"binary_data_size": len(raw)}}, raw),
    ]


def outputs_asked(**classification: int) -> list[dict[str, Any]]:
    """Every mix of binary and JSON, for all outputs and for each."""
    mixes: list[dict[str, Any]] = [
        {},
        {"parameters": {"binary_data_output": True}},
        {"parameters": {"binary_data_output": False}},
    ]
    for usual, first, second in product((None, True), (None, False, True), (None, False, True)):
        outputs: list[dict[str, Any]] = []
        for name, binary in (("probabilities", first), ("logits", second)):
            parameters: dict[str, Any] = {} if binary is None else {"binary_data": binary}
            outputs.append({"name": name, "parameters": parameters | classification})
        fields = {} if usual is None else {"parameters": {"binary_data_output": usual}}
        mixes.append(fields | {"outputs": outputs})
    return mixes


async def test_same_answers_as_over_grpc(running: Running) -> None:
    """
    Any mix of JSON and binary gives the outputs of gRPC, bit by bit.
    """
    firsts = (3, 6, 199, 0)
    expected = await over_grpc(running, pixels_request(*firsts))
    async with Client(running.url) as client:
        for (given, binary), asked in product(pixels_inputs(*firsts), outputs_asked()):
            answer = await client.infer(given, binary=binary, **asked)
            found = read(answer)
            assert found == expected
            names = [one["name"] for one in asked.get("outputs", [])]
            assert list(found) == (names or [*expected])


async def test_images(running: Running) -> None:
    """
    Encoded images, in base64 or binary, give what their pixels give.
    """
    expected = await over_grpc(running, pixels_request(3, 6))
    async with Client(running.url) as client:
        for given, binary in images_inputs(png(3), png(6)):
            assert read(await client.infer(given, binary=binary)) == expected


async def test_bad_images(running: Running) -> None:
    """
    A bad image in any form gives the error that it gives over gRPC.
    """
    async with Client(running.url) as client:
        for given, binary in images_inputs(png(3), b"nope"):
            answer = await client.infer(given, binary=binary)
            assert "image 1: this is text" in check_error(answer, 400, "INVALID_IMAGE")
        # A text is its bytes in UTF-8: without content_type, base64 is not looked for.
        text = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["nope"]}
        check_error(await client.infer(text), 400, "INVALID_IMAGE")
        told = await client.infer(text | {"parameters": {"content_type": "base64"}, "data": ["é"]})
        assert "is not base64" in check_error(told, 400, "INVALID_ARGUMENT")


async def test_classification(running: Running) -> None:
    """
    The best classes come as texts, binary or not, and as over gRPC.
    """
    request = pixels_request(3, 6)
    for name in ("probabilities", "logits"):
        output = request.outputs.add(name=name)
        output.parameters["classification"].int64_param = 2
    expected = await over_grpc(running, request)
    ((given, _), *_) = pixels_inputs(3, 6)
    async with Client(running.url) as client:
        for asked in outputs_asked(classification=2):
            if "outputs" in asked:
                assert read(await client.infer(given, **asked)) == expected
        answer = await client.infer(
            given, outputs=[{"name": "logits", "parameters": {"classification": 1}}]
        )
        (told,) = answer.json()["outputs"]
        assert (told["datatype"], told["shape"]) == ("BYTES", [2, 1])
        assert told["data"] == ["10.000000:3:class 3", "10.000000:1:class 1"]
        for wrong in (0, -1, "2", 2.0, True):
            answer = await client.infer(
                given, outputs=[{"name": "logits", "parameters": {"classification": wrong}}]
            )
            check_error(answer, 400, "INVALID_ARGUMENT")


async def test_fields_of_an_answer(running: Running) -> None:
    """
    An answer names its model and version, the hash of what ran, and the request's own identifier.
    """
    ((given, _), *_) = pixels_inputs(0)
    async with Client(running.url) as client:
        for path in ("/v2/models/tiny/infer", "/v2/models/tiny/versions/1/infer"):
            told = (await client.infer(given, path=path, id="r-1")).json()
            assert (told["model_name"], told["model_version"], told["id"]) == ("tiny", "1", "r-1")
            assert len(told["parameters"]["model_sha256"]) == 64
        assert "id" not in (await client.infer(given)).json()
        assert (await client.infer(given, id="zwölf \x00 \u2028")).json()[
            "id"
        ] == "zwölf \x00 \u2028"


async def test_timing(running: Running) -> None:
    """
    An answer states on request where the time went, its batch size and its provider.
    """
    image, tensor = images_inputs(png(3))[0][0], pixels_inputs(0)[0][0]
    asked = {"timing": True}
    async with Client(running.url) as client:
        told = (await client.infer(image, parameters=asked)).json()["parameters"]
        assert set(told) == TIMING | {"model_sha256"}
        assert told["decode_us"] > 0 < told["inference_us"]
        assert (told["batch_size"], told["provider"]) == (1, "CPUExecutionProvider")
        told = (await client.infer(tensor, parameters=asked)).json()["parameters"]
        assert (told["decode_us"], told["batch_size"]) == (0, 1)
        told = (await client.infer(tensor, parameters={"timing": False})).json()["parameters"]
        assert set(told) == {"model_sha256"}
        answer = await client.infer(tensor, parameters={"timing": 1})
        check_error(answer, 400, "INVALID_ARGUMENT")


async def test_requested_outputs(running: Running) -> None:
    """
    Only the outputs that are asked for come, and only those that there are.
    """
    ((given, _), *_) = pixels_inputs(0)
    async with Client(running.url) as client:
        assert list(read(await client.infer(given, outputs=[{"name": "logits"}]))) == ["logits"]
        assert len(read(await client.infer(given, outputs=[]))) == 2
        for wrong in (["other"], ["logits", "probabilities", "logits"], [""]):
            answer = await client.infer(given, outputs=[{"name": name} for name in wrong])
            check_error(answer, 400, "INVALID_ARGUMENT")


async def test_shared_memory(running: Running) -> None:
    """
    Tensors in shared memory are not supported, neither ways.
    """
    ((given, _), *_) = pixels_inputs(0)
    region = {"parameters": {"shared_memory_region": "mine", "shared_memory_byte_size": 16}}
    async with Client(running.url) as client:
        check_error(await client.infer(given | region), 501, "UNSUPPORTED")
        answer = await client.infer(given, outputs=[{"name": "logits"} | region])
        check_error(answer, 501, "UNSUPPORTED")


WRONG_INPUTS: list[dict[str, Any]] = [
    {"name": "other"},
    {"name": ""},
    {"datatype": "FP32"},
    {"datatype": "uint8"},
    {"datatype": "BYTES"},
    {"shape": []},
    {"shape": [16]},
    {"shape": [0, 4, 4, 1], "data": []},
    {"shape": [-1, 4, 4, 1]},
    {"shape": [2, 4, 4, 1]},
    {"shape": [9, 4, 4, 1]},
    {"shape": [2**31 - 1, 4, 4, 1]},
    {"shape": [2**31, 4, 4, 1]},
    {"shape": [2**63, 2**63]},
    {"shape": [2**31 - 1] * 200},
    {"shape": [1, 4, 4, True]},
    {"shape": [1, 4, 4, 1.0]},
    {"shape": "1"},
    {"data": []},
    {"data": [0] * 15},
    {"data": [0] * 17},
    {"data": [256] + [0] * 15},
    {"data": [-1] + [0] * 15},
    {"data": [0.5] + [0] * 15},
    {"data": [float("nan")] + [0] * 15},
    {"data": [float("inf")] + [0] * 15},
    {"data": [2**80] + [0] * 15},
    {"data": [True] * 16},
    {"data": [None] * 16},
    {"data": ["0"] * 16},
    {"data": [[0] * 8, [0] * 9]},
    {"data": None},
    {"data": "AAAA"},
    {"parameters": {"binary_data_size": 16}},
    {"parameters": {"binary_data_size": 0}},
    {"parameters": {"binary_data_size": -1}},
    {"parameters": {"binary_data_size": True}},
    {"parameters": {"binary_data_size": "16"}},
    {"parameters": {"binary_data_size": 2**63}},
    {"parameters": {"binary_data_size": None}},
    {"parameters": []},
]


async def test_wrong_inputs(running: Running) -> None:
    """
    A wrong input is the client's error, and reaches no model.
    """
    ((given, _), *_) = pixels_inputs(0)
    async with Client(running.url) as client:
        for wrong in WRONG_INPUTS:
            check_error(await client.infer(given | wrong), 400, "INVALID_ARGUMENT")
        for inputs in ([], [given, given], [given, given | {"name": "other"}]):
            check_error(await client.infer(*inputs), 400, "INVALID_ARGUMENT")
        assert running.sample("convoy_batch_size_count", model="tiny") == 0
        assert read(await client.infer(given))


async def test_wrong_binary(running: Running) -> None:
    """
    Binary tensors of wrong sizes are refused, and the connection stays open.
    """
    *_, (given, raw) = pixels_inputs(0)
    text = json.dumps({"inputs": [given]}).encode()
    async with Client(running.url) as client:
        for size, binary in (
            (15, raw),
            (17, raw),
            (16, raw[:-1]),
            (16, raw + b"\0"),
            (15, raw[:-1]),
            (32, raw * 2),
            (-16, raw),
            (2**31, raw),
        ):
            wrong = given | {"parameters": {"binary_data_size": size}}
            check_error(await client.infer(wrong, binary=binary), 400, "INVALID_ARGUMENT")
        for header in ("00", "1", str(len(text) - 1), str(len(text) + 1), "-1", "x", "9" * 5000):
            answer = await client.ask("POST", "/v2/models/tiny/infer", text + raw, {LENGTH: header})
            check_error(answer, 400, "INVALID_ARGUMENT")
        answer = await client.ask("POST", "/v2/models/tiny/infer", text + raw)
        check_error(answer, 400, "INVALID_ARGUMENT")
        for damaged in (elements(b"ab")[:-1], b"\xff\xff\xff\xff", b"\0", elements(b"", b"")):
            images = {
                "name": "image",
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"binary_data_size": len(damaged)},
            }
            check_error(await client.infer(images, binary=damaged), 400, "INVALID_ARGUMENT")
        assert read(await client.infer(given, binary=raw))


async def test_wrong_terms(running: Running) -> None:
    """
    Priority and timeout must be integers, and the timeout not negative.
    """
    ((given, _), *_) = pixels_inputs(0)
    async with Client(running.url) as client:
        for name, value in (
            ("priority", "1"),
            ("priority", 1.0),
            ("priority", True),
            ("timeout", -1),
            ("timeout", "5"),
            ("timeout", 1e6),
            ("timeout", 2**63),
        ):
            answer = await client.infer(given, parameters={name: value})
            check_error(answer, 400, "INVALID_ARGUMENT")
        for parameters in ({"priority": 0}, {"priority": 7}, {"timeout": 0}, {"timeout": 2**62}):
            assert read(await client.infer(given, parameters=parameters))


OUTPUT_TYPES = {
    "half": (TensorProto.FLOAT16, "float16", "FP16"),
    "double": (TensorProto.DOUBLE, "float64", "FP64"),
    "long": (TensorProto.INT64, "int64", "INT64"),
    "int": (TensorProto.INT32, "int32", "INT32"),
    "byte": (TensorProto.UINT8, "uint8", "UINT8"),
    "truth": (TensorProto.BOOL, "bool", "BOOL"),
}
"""Name of an output -> its type for ONNX, for numpy and in the protocol."""


def write_floats(root: Path) -> None:
    """
    An artifact `floats` that takes floats, and gives the first five of each image in every type.
    """
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Gather", ["flat", "columns"], ["logits"], axis=1),
            *(
                helper.make_node("Cast", ["logits"], [name], to=kind)
                for name, (kind, _, _) in OUTPUT_TYPES.items()
            ),
        ],
        "floats",
        [info("image", TensorProto.FLOAT, ["N", tiny.SIDE, tiny.SIDE, 1])],
        [
            info("logits", TensorProto.FLOAT, ["N", tiny.CLASSES]),
            *(info(name, kind, ["N", tiny.CLASSES]) for name, (kind, _, _) in OUTPUT_TYPES.items()),
        ],
        [numpy_helper.from_array(np.arange(tiny.CLASSES), "columns")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    images = np.random.default_rng(1).random((4, tiny.SIDE, tiny.SIDE, 1), np.float32)
    spec = tiny.manifest().input
    tiny.write(
        root,
        "floats",
        model=model,
        golden=Golden(images, images.reshape(4, -1)[:, : tiny.CLASSES]),
        input=spec.model_copy(update={"dtype": "float32"}),
        normalization=Normalization(mean=(0.5,), std=(0.5,), where="server"),
        outputs=(
            OutputTensor(name="logits", kind="logits"),
            *(
                OutputTensor(name=name, kind="other", dtype=dtype)
                for name, (_, dtype, _) in OUTPUT_TYPES.items()
            ),
        ),
    )


async def test_numbers_of_every_type(serve: Serve, tmp_path: Path) -> None:
    """
    Floats go in as JSON holds them, and outputs of every type come out, bit by bit as over gRPC.
    """
    write_floats(tmp_path)
    values = np.random.default_rng(0).uniform(0, 250, (2, 4, 4, 1)).astype(np.float32)
    values[0, 0] = 0
    request = pb.ModelInferRequest(model_name="floats")
    request.inputs.add(name="image", datatype="FP32", shape=values.shape)
    request.raw_input_contents.append(values.tobytes())
    image = {"name": "image", "datatype": "FP32", "shape": list(values.shape)}
    path = "/v2/models/floats/infer"
    async with serve() as running, Client(running.url) as client:
        expected = await over_grpc(running, request)
        assert expected["logits"][2] == values.reshape(2, -1)[:, : tiny.CLASSES].tobytes()
        assert {name: datatype for name, (datatype, _, _) in expected.items()} == {
            "logits": "FP32",
            **{name: datatype for name, (_, _, datatype) in OUTPUT_TYPES.items()},
        }
        for data in (values.tolist(), values.ravel().tolist()):
            for in_binary in (False, True):
                answer = await client.infer(
                    image | {"data": data},
                    path=path,
                    parameters={"binary_data_output": in_binary},
                )
                assert read(answer) == expected
        binary = image | {"parameters": {"binary_data_size": values.nbytes}}
        answer = await client.infer(binary, binary=values.tobytes(), path=path)
        assert read(answer) == expected
        # What is no number there is none here, but a number that does not fit is no infinity.
        special = [float("nan"), float("inf"), -float("inf"), -0.0, 2**70, *[1] * 11]
        one = image | {"shape": [1, 4, 4, 1], "data": special}
        answer = await client.infer(one, path=path, outputs=[{"name": "logits"}])
        assert read(answer)["logits"][2] == np.array(special[:5], np.float32).tobytes()
        for few in ([float("nan")], [1] * 15, []):
            answer = await client.infer(one | {"data": few}, path=path)
            message = check_error(answer, 400, "INVALID_ARGUMENT")
            expected_end = f"has {len(few)} values of float32; its shape needs 16 values"
            assert message.endswith(expected_end)
        for wrong in (1e39, 10**40, True, "1", None):
            answer = await client.infer(one | {"data": [wrong, *special[1:]]}, path=path)
            check_error(answer, 400, "INVALID_ARGUMENT")


async def test_raw_binary_request(running: Running) -> None:
    """
    Without JSON the whole body is the input (Triton's raw binary request): an image, or elements of
    the model's own tensor.
    """
    headers = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
    for data, expected in (
        (png(3), [3]),
        (tiny.pixels(2).tobytes(), [2]),
        (tiny.pixels(2).tobytes() + tiny.pixels(4).tobytes(), [2, 4]),
    ):
        assert classes(await ask("POST", running.url + INFER, data, headers)) == expected
    for data in (b"", b"neither", png(3)[:40]):
        answer = await ask("POST", running.url + INFER, data or b"", headers)
        assert answer.status == 400
    unknown = await ask("POST", f"{running.url}/v2/models/huge/infer", png(3), headers)
    check_error(unknown, 404, "MODEL_NOT_FOUND")


@pytest.mark.parametrize("size", [0, 5_000_000])
async def test_image_in_place_of_json(running: Running, size: int) -> None:
    """
    An image as the body, however large, is answered with where images go.
    """
    answer = await ask("POST", running.url + INFER, png(3) + bytes(size))
    assert "/v1/models/NAME/classify" in check_error(answer, 400, "INVALID_ARGUMENT")


async def test_base64_that_is_not_stated(running: Running) -> None:
    """
    An image in base64 without its parameter is refused with the parameter's name.
    """
    tensor: dict[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [1]}
    tensor["data"] = [base64.b64encode(png(3)).decode()]
    body = json.dumps({"inputs": [tensor]}).encode()
    message = check_error(await ask("POST", running.url + INFER, body), 400, "INVALID_IMAGE")
    assert '"parameters": {"content_type": "base64"}' in message
    tensor["parameters"] = {"content_type": "base64"}
    stated = json.dumps({"inputs": [tensor]}).encode()
    assert classes(await ask("POST", running.url + INFER, stated)) == [3]
