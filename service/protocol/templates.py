"""Requests that differ from an earlier one in their identifier and their pixels only.

Clients send the same names and the same shape over and over, with other raw bytes behind them.
Reading them and building the answer message by message takes several times as long as a small
network does. So the head of a request that was answered in the usual way is kept as a template,
by its bytes: the next request with this head needs no parser, and its answer is put together from
parts. Whatever has no template goes the usual way, so nothing is checked less.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import Outputs
from convoy.service.errors import ServiceError
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel

MAX_TEMPLATES = 256
"""When there are more, all are forgotten."""

MAX_HEAD_BYTES = 4096
"""No template is made of a longer head."""

# Tags of a request's fields, each of which has a length. A request with parameters has no template.
_ID, _RAW_INPUT = 0x1A, 0x3A
_OTHERS = frozenset({0x0A, 0x12, 0x2A, 0x32})  # model_name, model_version, inputs, outputs

_RAW_OUTPUT = b"\x32"  # tag of a response's field; that of `id` is the request's


class _Output(NamedTuple):
    """One output of an answer: its name, its size, and what stands before its bytes."""

    name: str
    size: int
    tag: bytes


class Template(NamedTuple):
    """
    The meaning of the head of a request.

    Attributes:
        model: Model that it names.
        shape: Of the tensor behind it, `[N, ...]`.
        size: Its bytes.
        response: The answer, without its identifier and its raw bytes.
        outputs: The raw bytes, in their order.
    """

    model: ServedModel
    shape: tuple[int, ...]
    size: int
    response: bytes
    outputs: tuple[_Output, ...]


class Match(NamedTuple):
    """
    A request that matches a template.

    Attributes:
        model: The model that is to run.
        template: The template.
        id: Field `id` with its tag; empty if there is none.
        batch: `[N, ...]` in the model's shape and dtype; a view of the message, not writable.
    """

    model: ServedModel
    template: Template
    id: bytes
    batch: npt.NDArray[Any]

    def response(self, outputs: Outputs) -> bytes:
        """
        The answer, as bytes of a `ModelInferResponse`.

        Raises:
            ValueError: If an output has not the size that it had the first time.
        """
        parts: list[Any] = [self.template.response, self.id]
        for name, size, tag in self.template.outputs:
            values = outputs[name]
            if values.nbytes != size:
                raise ValueError(f"output {name} has {values.nbytes} bytes, not {size}")
            parts += (tag, values)  # as they lie in memory: rows of the batch's output
        return b"".join(parts)


class Templates:
    """The templates of the models in *registry*, for as long as these stay the same."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._generation = registry.generation
        self._templates: dict[bytes, Template] = {}
        self._last: tuple[bytes, Template] | None = None  # that of the last one without identifier

    def read(self, message: bytes) -> Match | None:
        """Read a request; None if it has no template."""
        if self._generation != self._registry.generation:
            self._forget()
        if self._last:
            start, template = self._last
            if message.startswith(start) and len(message) == len(start) + template.size:
                return _match(template, b"", message, len(start))
        head = _split(message)
        found = head and self._templates.get(head.names + head.raw_tag)
        if not head or not found or not head.id.isascii():
            return None
        if not head.id:
            self._last = message[: head.size], found
        return _match(found, head.id, message, head.size)

    def learn(self, message: bytes, response: pb.ModelInferResponse) -> None:
        """Make a template of a request and its *response*, if one can be made."""
        head = _split(message)
        if not head or head.size > MAX_HEAD_BYTES:
            return
        request = pb.ModelInferRequest.FromString(head.names)
        if not _is_plain(request):
            return
        model = self._answered_by(request, response)
        if model is None:
            return
        if self._generation != self._registry.generation or len(self._templates) >= MAX_TEMPLATES:
            self._forget()
        self._templates[head.names + head.raw_tag] = _template(model, request, response)

    def _answered_by(
        self, request: pb.ModelInferRequest, response: pb.ModelInferResponse
    ) -> ServedModel | None:
        """The model that answered; None if the same request would reach another one by now."""
        try:
            model = self._registry.get(request.model_name, request.model_version)
        except ServiceError:
            return None
        answered = (response.model_version, response.parameters["model_sha256"].string_param)
        return model if answered == (str(model.version), model.manifest.model_sha256) else None

    def _forget(self) -> None:
        self._generation = self._registry.generation
        self._templates.clear()
        self._last = None


def _match(template: Template, identifier: bytes, message: bytes, offset: int) -> Match:
    batch = np.frombuffer(message, template.model.manifest.input.dtype, offset=offset)
    return Match(template.model, template, identifier, batch.reshape(template.shape))


class _Head(NamedTuple):
    """
    A request up to its raw bytes.

    Attributes:
        names: All fields before them, without the identifier.
        id: The identifier with its tag; empty if there is none.
        raw_tag: Tag and length of the raw bytes.
        size: Bytes of all three.
    """

    names: bytes
    id: bytes
    raw_tag: bytes
    size: int


def _split(message: bytes) -> _Head | None:
    """Split a request that ends with its one raw input; None if it is not so."""
    at, id_start, id_end, size = 0, 0, 0, len(message)
    while at + 1 < size:
        tag, length, start = message[at], message[at + 1], at + 2
        if length > 0x7F:
            length, start = _varint(message, at + 1)
        end = start + length
        if tag == _RAW_INPUT:
            if end != size:
                return None
            names = message[:id_start] + message[id_end:at]
            return _Head(names, message[id_start:id_end], message[at:start], start)
        if tag == _ID and not id_end:
            id_start, id_end = at, end
        elif tag not in _OTHERS:
            return None
        at = end
    return None


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins *at*, and where it ends; one that is too long is no length."""
    value = 0
    for place, byte in enumerate(message[at : at + 5]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    return len(message), at


def _is_plain(request: pb.ModelInferRequest) -> bool:
    """Return whether the request's meaning is in its names and shape alone: it has no options."""
    if len(request.inputs) != 1 or any(output.parameters for output in request.outputs):
        return False
    tensor = request.inputs[0]
    return not (tensor.datatype == "BYTES" or tensor.parameters or tensor.HasField("contents"))


def _template(
    model: ServedModel, request: pb.ModelInferRequest, response: pb.ModelInferResponse
) -> Template:
    start = pb.ModelInferResponse()
    start.CopyFrom(response)
    start.ClearField("id")
    start.ClearField("raw_output_contents")
    outputs = [
        _Output(output.name, len(raw), _RAW_OUTPUT + _encoded(len(raw)))
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    ]
    shape = tuple(request.inputs[0].shape)
    size = math.prod(shape) * np.dtype(model.manifest.input.dtype).itemsize
    return Template(model, shape, size, start.SerializeToString(), tuple(outputs))


def _encoded(length: int) -> bytes:
    """A length as a varint."""
    encoded = bytearray()
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)
