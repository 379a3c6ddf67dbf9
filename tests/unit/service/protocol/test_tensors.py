import struct
from typing import Any

import numpy as np
import pytest

from convoy.artifact.manifest import InputTensor, Manifest, Normalization
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.errors import InvalidArgumentError
from convoy.service.protocol.tensors import read_input
from tests.harness import tiny

MANIFEST = tiny.manifest()
ITEM = 16  # bytes of one 4x4 image


def request(
    *,
    name: str = "image",
    datatype: str = "UINT8",
    shape: tuple[int, ...] = (2, 4, 4, 1),
    raw: list[bytes] | None = None,
    **contents: Any,
) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name="tiny")
    tensor = made.inputs.add(name=name, datatype=datatype, shape=shape)
    made.raw_input_contents.extend([bytes(2 * ITEM)] if raw is None else raw)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return made


def read(made: pb.ModelInferRequest, manifest: Manifest = MANIFEST) -> Any:
    return read_input(made, manifest, max_batch_size=8)


def elements(*values: bytes) -> bytes:
    """Raw BYTES."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def test_raw() -> None:
    """
    Raw bytes are taken as they are, without a copy.
    """
    raw = bytes(range(2 * ITEM))
    batch = read(request(raw=[raw]))
    assert batch.shape == (2, 4, 4, 1)
    assert batch.dtype == np.uint8
    assert batch.tobytes() == raw
    assert not batch.flags.owndata


def test_typed() -> None:
    """
    Typed contents give the same array as raw ones.
    """
    batch = read(request(raw=[], uint_contents=range(2 * ITEM)))
    assert np.array_equal(batch, read(request(raw=[bytes(range(2 * ITEM))])))
    assert batch.dtype == np.uint8


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_encoded_images(shape: tuple[int, ...]) -> None:
    """
    BYTES are encoded images, raw or typed, with or without a second dimension of one.
    """
    raw = request(datatype="BYTES", shape=shape, raw=[elements(b"one", b"two!")])
    typed = request(datatype="BYTES", shape=shape, raw=[], bytes_contents=[b"one", b"two!"])
    assert read(raw) == read(typed) == [b"one", b"two!"]


def test_float_models() -> None:
    """
    A model that takes floats gets them, in its own layout.
    """
    tensor = InputTensor(name="data", dtype="float32", layout="NCHW", channels=1, height=4, width=4)
    normalization = Normalization(mean=(0.5,), std=(0.5,), where="server")
    manifest = tiny.manifest(input=tensor, normalization=normalization)
    values = np.linspace(0, 1, ITEM, dtype=np.float32).reshape(1, 1, 4, 4)
    options: dict[str, Any] = {"name": "data", "datatype": "FP32", "shape": (1, 1, 4, 4)}
    raw = read(request(raw=[values.tobytes()], **options), manifest)
    typed = read(request(raw=[], fp32_contents=values.ravel(), **options), manifest)
    assert np.array_equal(raw, values)
    assert np.array_equal(typed, values)


def test_half_floats_must_be_raw() -> None:
    """
    FP16 has no typed field.
    """
    tensor = MANIFEST.input.model_copy(update={"dtype": "float16"})
    manifest = MANIFEST.model_copy(update={"input": tensor})
    with pytest.raises(InvalidArgumentError, match="elements in raw_input_contents"):
        read(request(datatype="FP16", raw=[], fp32_contents=[0.0] * 32), manifest)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (pb.ModelInferRequest(), "0 inputs"),
        (request(name="x"), "unknown input 'x': expected 'image'"),
        (request(datatype="FP32"), "takes UINT8, or BYTES"),
        (request(shape=()), r"shape \[N, 4, 4, 1\], not \[\]"),
        (request(shape=(2, 4, 4)), "takes shape"),
        (request(shape=(2, 4, 1, 4)), "takes shape"),
        (request(shape=(0, 4, 4, 1)), "has 0 images"),
        (request(shape=(-1, 4, 4, 1)), "has -1 images"),
        (request(shape=(9, 4, 4, 1)), "has 9 images; it must have 1 to 8"),
        (request(shape=(2**62, 4, 4, 1)), "must have 1 to 8"),
        (request(raw=[bytes(31)]), "has 31 values of uint8; its shape needs 32 values"),
        (request(raw=[bytes(33)]), "33 values"),
        (request(raw=[bytes(32), bytes(32)]), "2 raw contents"),
        (request(raw=[]), "0 elements in uint_contents"),
        (request(uint_contents=[1]), "either contents or raw_input_contents"),
        (request(raw=[], uint_contents=[1]), "1 elements in uint_contents"),
        (request(raw=[], int_contents=[1] * 32), "elements in uint_contents only"),
        (request(raw=[], uint_contents=[256] * 32), "at most 255"),
        (request(datatype="BYTES", shape=(2, 2)), r"shape \[N\]"),
        (request(datatype="BYTES", shape=(2,), raw=[elements(b"a")]), "1 elements"),
        (request(datatype="BYTES", shape=(1,), raw=[elements(b"a", b"b")]), "2 elements"),
        (request(datatype="BYTES", shape=(1,), raw=[elements(b"abc")[:-1]]), "in the middle"),
        (request(datatype="BYTES", shape=(1,), raw=[b"\x01"]), "in the middle"),
        (request(datatype="BYTES", shape=(1,), raw=[b"\xff" * 8]), "in the middle"),
        (request(datatype="BYTES", shape=(1,), raw=[], bytes_contents=[]), "0 elements"),
    ],
)
def test_wrong_requests(made: pb.ModelInferRequest, message: str) -> None:
    """
    The error names the fault, before memory is allocated.
    """
    with pytest.raises(InvalidArgumentError, match=message):
        read(made)


def test_two_inputs() -> None:
    """
    A second input is refused.
    """
    made = request()
    made.inputs.add(name="other")
    with pytest.raises(InvalidArgumentError, match="2 inputs"):
        read(made)
