"""Tensors of the Open Inference Protocol: from a request to an array.

Every number that a client sends is checked before memory is allocated for it.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from convoy.artifact.manifest import InputTensor, Manifest
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.errors import InvalidArgumentError

DATATYPES = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
}
"""The protocol's name of each dtype that an input or output of a model may have."""

_CONTENTS = {"UINT8": "uint_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}
"""Typed field of each data type; FP16 has none and is sent raw."""


def read_input(
    request: pb.ModelInferRequest, manifest: Manifest, max_batch_size: int
) -> npt.NDArray[Any] | list[bytes]:
    """
    Read the one input: a batch of the model's own tensor, or of encoded images if it is BYTES.

    Returns:
        An array `[N, ...]` in the model's shape and dtype, not writable; or N encoded images.

    Raises:
        InvalidArgumentError: If name, data type, shape, size or number of bytes is wrong.
    """
    spec = manifest.input
    if len(request.inputs) != 1:
        raise InvalidArgumentError(f"the request has {len(request.inputs)} inputs; it needs 1")
    tensor = request.inputs[0]
    if tensor.name != spec.name:
        raise InvalidArgumentError(f"unknown input {tensor.name[:64]!r}: expected {spec.name!r}")
    datatype = DATATYPES[spec.dtype]
    if tensor.datatype not in (datatype, "BYTES"):
        raise InvalidArgumentError(
            f"input {spec.name!r} takes {datatype}, or BYTES for encoded images, "
            f"not {tensor.datatype[:16]!r}"
        )
    # A request has either raw bytes or typed elements.
    raw = _raw(request, tensor)
    if raw is None:
        _check_typed_fields(tensor)
    # Encoded images: the shape is [N], or [N, 1] as some clients of Triton send it.
    if tensor.datatype == "BYTES":
        count = _batch_size(tensor, [[], [1]], max_batch_size)
        images = list(tensor.contents.bytes_contents) if raw is None else split_elements(raw, count)
        _check_count(len(images), count, "elements")
        return images
    count = _batch_size(tensor, [list(spec.item_shape)], max_batch_size)
    size = count * math.prod(spec.item_shape)
    values = _typed(tensor, spec, size) if raw is None else _from_raw(raw, spec, size)
    return values.reshape(count, *spec.item_shape)


def _raw(
    request: pb.ModelInferRequest, tensor: pb.ModelInferRequest.InferInputTensor
) -> bytes | None:
    """Return the raw bytes of the input; None if its elements are typed."""
    if not request.raw_input_contents:
        return None
    # Both were sent, and may disagree.
    if tensor.HasField("contents"):
        raise InvalidArgumentError("send either contents or raw_input_contents, not both")
    _check_count(len(request.raw_input_contents), 1, "raw contents")
    return request.raw_input_contents[0]


def _check_typed_fields(tensor: pb.ModelInferRequest.InferInputTensor) -> None:
    """Refuse elements in the field of another data type, since the intended one is unknown."""
    field = _CONTENTS.get(tensor.datatype)
    if field and any(found.name != field for found, _ in tensor.contents.ListFields()):
        raise InvalidArgumentError(f"send {tensor.datatype} elements in {field} only")


def _batch_size(
    tensor: pb.ModelInferRequest.InferInputTensor, item_shapes: list[list[int]], limit: int
) -> int:
    """Check the shape, and return its first dimension."""
    shape = list(tensor.shape)
    if not shape or shape[1:] not in item_shapes:
        expected = ", ".join(map(str, ["N", *item_shapes[0]]))
        raise InvalidArgumentError(
            f"input {tensor.name!r} as {tensor.datatype} takes shape [{expected}], not {shape[:8]}"
        )
    if not 1 <= shape[0] <= limit:
        raise InvalidArgumentError(f"the batch has {shape[0]} images; it must have 1 to {limit}")
    return shape[0]


def _from_raw(raw: bytes, spec: InputTensor, size: int) -> npt.NDArray[Any]:
    values, rest = divmod(len(raw), np.dtype(spec.dtype).itemsize)
    if (values, rest) != (size, 0):
        raise InvalidArgumentError(
            f"input {spec.name!r} has {values} values{f' and {rest} bytes' if rest else ''} "
            f"of {spec.dtype}; its shape needs {size} values"
        )
    return np.frombuffer(raw, spec.dtype)


def _typed(
    tensor: pb.ModelInferRequest.InferInputTensor, spec: InputTensor, size: int
) -> npt.NDArray[Any]:
    field = _CONTENTS.get(tensor.datatype)
    # FP16, for which the protocol has no typed field.
    if field is None:
        raise InvalidArgumentError(f"send {tensor.datatype} elements in raw_input_contents")
    values = getattr(tensor.contents, field)
    _check_count(len(values), size, f"elements in {field}")
    array = np.asarray(values)
    # The protocol has no smaller field than 32 bits: the cast would wrap larger values.
    if spec.dtype == "uint8" and array.max() > 255:
        raise InvalidArgumentError("a UINT8 element must be at most 255")
    return array.astype(spec.dtype)


def split_elements(raw: bytes, count: int) -> list[bytes]:
    """
    Split raw BYTES: each element is its length in 4 bytes, little-endian, then its bytes.

    Raises:
        InvalidArgumentError: If they end in the middle of an element.
    """
    elements: list[bytes] = []
    offset = 0
    # One element too many is enough to refuse the request: a client must not make millions.
    while offset < len(raw) and len(elements) <= count:
        end = offset + 4
        if end <= len(raw):
            end += struct.unpack_from("<I", raw, offset)[0]
        if end > len(raw):
            raise InvalidArgumentError("the raw BYTES end in the middle of an element")
        elements.append(raw[offset + 4 : end])
        offset = end
    return elements


def _check_count(found: int, expected: int, noun: str) -> None:
    if found != expected:
        raise InvalidArgumentError(f"the input has {found} {noun}; it needs {expected}")
