"""Tensors for requests: random ones for any model, and how they travel in messages."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

Array = npt.NDArray[Any]

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Typed field of each data type; FP16 and BF16 have none."""

OPEN_DIMENSION = 32
"""Size that a variable dimension other than the batch gets."""


@dataclass(frozen=True, slots=True)
class Spec:
    """An input or output as the model's metadata describes it; -1 is a variable dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that is sent."""

    name: str
    datatype: str
    values: Array

    @property
    def raw(self) -> bytes:
        """The bytes in `raw_input_contents`."""
        if self.datatype == "BYTES":
            packed: bytes = serialize_byte_tensor(self.values).item()
            return packed
        return np.ascontiguousarray(self.values).tobytes()

    @property
    def elements(self) -> list[Any]:
        """Flat, in row-major order."""
        return self.values.ravel().tolist()

    @property
    def shape(self) -> list[int]:
        """Its shape."""
        return list(self.values.shape)


def random_tensor(spec: Spec, batch: int, seed: int) -> Tensor:
    """A valid tensor for *spec*; *batch* is the first dimension if that is variable."""
    first = batch if spec.shape[0] == -1 else spec.shape[0]
    shape = (first, *(OPEN_DIMENSION if size == -1 else size for size in spec.shape[1:]))
    return Tensor(spec.name, spec.datatype, _random(spec.datatype, shape, seed))


def _random(datatype: str, shape: tuple[int, ...], seed: int) -> Array:
    random = np.random.default_rng(seed)
    if datatype == "BYTES":
        images = [png(seed * 1000 + index) for index in range(int(np.prod(shape)))]
        return np.array(images, object).reshape(shape)
    dtype = np.dtype(triton_to_np_dtype(datatype))
    if dtype.kind == "f":
        return random.random(shape).astype(dtype)
    most = {"b": 2, "u": 256}.get(dtype.kind, 128)
    return random.integers(0, most, shape).astype(dtype)


def png(seed: int, side: int = 40) -> bytes:
    """A grey picture of noise, made by hand."""
    noise = np.random.default_rng(seed).integers(0, 256, (side, side)).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in noise)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def infer_request(
    model: str, tensors: Iterable[Tensor], outputs: Sequence[str] = (), **fields: Any
) -> pb.ModelInferRequest:
    """A request with raw contents."""
    request = pb.ModelInferRequest(model_name=model, **fields)
    for tensor in tensors:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        request.raw_input_contents.append(tensor.raw)
    for output in outputs:
        request.outputs.add(name=output)
    return request


def typed(request: pb.ModelInferRequest, tensors: Sequence[Tensor]) -> pb.ModelInferRequest:
    """The same request with its *tensors* in typed contents."""
    del request.raw_input_contents[:]
    for given, tensor in zip(request.inputs, tensors, strict=True):
        getattr(given.contents, FIELDS[tensor.datatype]).extend(tensor.elements)
    return request


def arrays(response: pb.ModelInferResponse) -> dict[str, Array]:
    """
    The outputs of an answer, by name, in its order.

    Typed contents are read, too: one test is there to refuse them, the others look at the values.
    """
    if not response.raw_output_contents:
        return {output.name: _from_field(output) for output in response.outputs}
    return {
        output.name: unpacked(raw, output.datatype, output.shape)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def _from_field(output: Any) -> Array:
    values = getattr(output.contents, FIELDS[output.datatype])
    return np.array(values, triton_to_np_dtype(output.datatype)).reshape(tuple(output.shape))


def unpacked(raw: bytes, datatype: str, shape: Iterable[int]) -> Array:
    """An array from its raw contents."""
    flat = (
        deserialize_bytes_tensor(raw)
        if datatype == "BYTES"
        else np.frombuffer(raw, triton_to_np_dtype(datatype))
    )
    return flat.reshape(tuple(shape))


def assert_same(found: dict[str, Array], expected: dict[str, Array]) -> None:
    """Require equal outputs, up to the rounding of another batch size."""
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].shape == values.shape, name
        if values.dtype.kind == "f":
            scale = float(np.abs(values).max(initial=1.0))
            np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-4 * scale)
        else:
            np.testing.assert_array_equal(found[name], values)


def assert_rows(found: dict[str, Array], row: int, expected: dict[str, Array]) -> None:
    """Require that one row of a batch is the answer to it alone."""
    assert_same({name: values[row : row + 1] for name, values in found.items()}, expected)
