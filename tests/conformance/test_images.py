"""Encoded images: a PNG as an element of BYTES, where the model takes that (OVMS's dialect)."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance.rest import binary_body
from tests.conformance.target import BAD_REQUEST, Target, refused
from tests.conformance.tensors import Array, Tensor, arrays, assert_rows, assert_same, png

IMAGES = [png(seed, side=32 + 8 * seed) for seed in range(3)]


def request(target: Target, images: Sequence[bytes] = IMAGES, *more: int) -> pb.ModelInferRequest:
    """A request with raw images; *more* are further dimensions of its shape."""
    (spec,) = target.inputs
    asked = pb.ModelInferRequest(model_name=target.model)
    asked.inputs.add(name=spec.name, datatype="BYTES", shape=[len(images), *more])
    asked.raw_input_contents.append(_packed(images))
    return asked


def _packed(images: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(image)) + image for image in images)


@pytest.fixture
def answer(target: Target) -> dict[str, Array]:
    """Return the model's outputs for the images; skip if it takes no images."""
    try:
        if len(target.inputs) == 1 and target.max_batch_size >= len(IMAGES):
            return arrays(target.call("ModelInfer", request(target)))
    except grpc.RpcError:
        pass
    pytest.skip("the model takes no encoded images")


def test_rows_are_images(target: Target, answer: dict[str, Array]) -> None:
    """Each image of a batch is answered as it is alone, with images of any size in bytes."""
    assert len({len(image) for image in IMAGES}) > 1
    for row, image in enumerate(IMAGES):
        alone = arrays(target.call("ModelInfer", request(target, [image])))
        assert_rows(answer, row, alone)


def test_column(target: Target, answer: dict[str, Array]) -> None:
    """The shape may be [N, 1] as well as [N] (Triton's batches of BYTES)."""
    assert_same(arrays(target.call("ModelInfer", request(target, IMAGES, 1))), answer)


def test_typed_images(target: Target, answer: dict[str, Array]) -> None:
    """Images may be in `bytes_contents` (OIP)."""
    asked = request(target)
    del asked.raw_input_contents[:]
    asked.inputs[0].contents.bytes_contents.extend(IMAGES)
    assert_same(arrays(target.call("ModelInfer", asked)), answer)


DAMAGED: dict[str, list[bytes]] = {
    "no image": [b"not an image"],
    "empty": [b""],
    "cut off": [IMAGES[0][: len(IMAGES[0]) // 2]],
    "one of three": [IMAGES[0], b"not an image", IMAGES[2]],
}


@pytest.mark.usefixtures("answer")
@pytest.mark.parametrize("images", DAMAGED.values(), ids=DAMAGED)
def test_damaged_image(target: Target, images: list[bytes]) -> None:
    """An image that cannot be decoded is the client's error: INVALID_ARGUMENT."""
    with refused("INVALID_ARGUMENT"):
        target.call("ModelInfer", request(target, images))


CONTENTS: dict[str, bytes] = {
    "nothing": b"",
    "half a length": b"\x01\x00",
    "length beyond the end": struct.pack("<I", 2**31) + IMAGES[0],
    "one image too few": _packed(IMAGES[:2]),
    "one image too many": _packed([*IMAGES, IMAGES[0]]),
    "big-endian length": struct.pack(">I", len(IMAGES[0])) + IMAGES[0],
}


@pytest.mark.usefixtures("answer")
@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
def test_wrong_elements(target: Target, contents: bytes) -> None:
    """Raw BYTES that are not as many whole elements as the shape says are INVALID_ARGUMENT."""
    asked = request(target)
    asked.raw_input_contents[0] = contents
    with refused("INVALID_ARGUMENT"):
        target.call("ModelInfer", asked)


@pytest.mark.rest
def test_binary_over_http(target: Target, answer: dict[str, Array]) -> None:
    """Images may follow the JSON as BYTES (binary_tensor_data)."""
    tensor = Tensor(target.inputs[0].name, "BYTES", np.array(IMAGES, object))
    body, headers = binary_body([tensor])
    assert_same(target.rest.post(target.path("/infer"), body, **headers).arrays, answer)


@pytest.mark.rest
def test_base64_over_http(target: Target, answer: dict[str, Array]) -> None:
    """JSON has no bytes: they are base64 by the input's `content_type` (MLServer's codec)."""
    tensor: dict[str, Any] = {
        "name": target.inputs[0].name,
        "datatype": "BYTES",
        "shape": [len(IMAGES)],
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(image).decode() for image in IMAGES],
    }
    found = target.rest.post(target.path("/infer"), {"inputs": [tensor]})
    assert_same(found.arrays, answer)
    tensor["data"][1] = "no base64!"
    assert target.rest.post(target.path("/infer"), {"inputs": [tensor]}).status in BAD_REQUEST
