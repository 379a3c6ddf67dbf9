"""Templates of requests that differ only in their identifiers and raw bytes.

Clients send the same names and the same shape again and again, followed by different raw bytes.
Parsing them and building the response as messages takes several times as long as a small network.
Therefore the head of a request that was answered on the usual path is kept as a template: the next
request with the same head needs no parser, and its response is assembled from parts. A request
without a template takes the usual path, so no check is lost.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convoy.artifact.wire import varint
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.engine import Model, Models
from convoy.service.errors import ServiceError
from convoy.service.telemetry.batch_record import Outputs

MAX_TEMPLATES = 256
"""One more discards all."""

MAX_HEAD_BYTES = 4096
"""Longest head of which a template is made."""

# Tags of a request's fields, each of which has a length. A request with parameters has no template.
_ID, _RAW_INPUT = 0x1A, 0x3A
_OTHERS = frozenset({0x0A, 0x12, 0x2A, 0x32})  # model_name, model_version, inputs, outputs

_RAW_OUTPUT = b"\x32"  # tag of a response's field; that of `id` is the request's


class _Output(NamedTuple):
    """One output of a response: its name, its size in bytes, and the tag and length before it."""

    name: str
    size: int
    tag: bytes


class Template(NamedTuple):
    """
    The meaning of the head of a request.

    Attributes:
        model: The model that it names.
        shape: Shape of the tensor that follows it, `[N, ...]`.
        size: Size of that tensor in bytes.
        response: The encoded response, without identifier and raw bytes.
        outputs: Its raw outputs, in order.
    """

    model: Model
    shape: tuple[int, ...]
    size: int
    response: bytes
    outputs: tuple[_Output, ...]


class Match(NamedTuple):
    """
    A request that matches a template.

    Attributes:
        model: The model to run.
        template: The template that it matches.
        id: Field `id` with its tag; empty if there is none.
        batch: `[N, ...]` in the model's shape and dtype; a view of the message, not writable.
    """

    model: Model
    template: Template
    id: bytes
    batch: npt.NDArray[Any]

    def response(self, outputs: Outputs) -> bytes:
        """
        Encode the answer as a `ModelInferResponse`.

        Raises:
            ValueError: If the size of an output differs from the template's.
        """
        parts: list[Any] = [self.template.response, self.id]
        for name, size, tag in self.template.outputs:
            values = outputs[name]
            if values.nbytes != size:
                raise ValueError(f"output {name} has {values.nbytes} bytes, not {size}")
            parts += (tag, values)  # not copied: the rows are contiguous in the batch's output
        return b"".join(parts)


class Templates:
    """The templates of *models*, discarded when any of these changes."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._generation = models.generation
        self._templates: dict[bytes, Template] = {}
        self._last: tuple[bytes, Template] | None = None  # the latest head without identifier

    def read(self, message: bytes) -> Match | None:
        """Match a request to its template; return None if it has none."""
        # A model was loaded or unloaded: a template may refer to an unloaded model.
        if self._generation != self._models.generation:
            self._discard()
        # The same head as the last time, byte for byte: it need not even be split.
        if self._last:
            start, template = self._last
            if message.startswith(start) and len(message) == len(start) + template.size:
                return _match(template, b"", message, len(start))
        head = _split(message)
        found = head and self._templates.get(head.names + head.raw_tag)
        # No template, or an identifier whose UTF-8 only the parser checks.
        if not head or not found or not head.id.isascii():
            return None
        # An identifier changes with each request: such a head would not come again.
        if not head.id:
            self._last = message[: head.size], found
        return _match(found, head.id, message, head.size)

    def learn(self, message: bytes, response: pb.ModelInferResponse) -> None:
        """Make a template of a request and its *response*, if that is possible."""
        head = _split(message)
        # Not of the form that a template describes, or too long to be kept.
        if not head or head.size > MAX_HEAD_BYTES:
            return
        request = pb.ModelInferRequest.FromString(head.names)
        # Its options would have to be read for each request.
        if not _is_plain(request):
            return
        model = self._answered_by(request, response)
        # The model was replaced while it answered.
        if model is None:
            return
        if self._generation != self._models.generation or len(self._templates) >= MAX_TEMPLATES:
            self._discard()
        self._templates[head.names + head.raw_tag] = _template(model, request, response)

    def _answered_by(
        self, request: pb.ModelInferRequest, response: pb.ModelInferResponse
    ) -> Model | None:
        """Return the model that answered; None if the request would reach another model now."""
        try:
            model = self._models.get(request.model_name, request.model_version)
        except ServiceError:
            return None
        answered = (response.model_version, response.parameters["model_sha256"].string_param)
        same = answered == (str(model.version), model.manifest.model_sha256)
        # Loaded again, the same version may take fewer images.
        return model if same and request.inputs[0].shape[0] <= model.max_batch_size else None

    def _discard(self) -> None:
        self._generation = self._models.generation
        self._templates.clear()
        self._last = None


def _match(template: Template, identifier: bytes, message: bytes, offset: int) -> Match:
    batch = np.frombuffer(message, template.model.manifest.input.dtype, offset=offset)
    return Match(template.model, template, identifier, batch.reshape(template.shape))


class _Head(NamedTuple):
    """
    The part of a request before its raw bytes.

    Attributes:
        names: All fields except the identifier.
        id: The identifier with its tag; empty if there is none.
        raw_tag: Tag and length of the raw bytes.
        size: Size of all three, in bytes.
    """

    names: bytes
    id: bytes
    raw_tag: bytes
    size: int


def _split(message: bytes) -> _Head | None:
    """Split a request that ends with its only raw input; return None for any other."""
    at, id_start, id_end, size = 0, 0, 0, len(message)
    while at + 1 < size:
        tag, length, start = message[at], message[at + 1], at + 2
        if length > 0x7F:
            length, start = _varint(message, at + 1)
        end = start + length
        # The raw bytes: they must be the last field.
        if tag == _RAW_INPUT:
            if end != size:
                return None
            names = message[:id_start] + message[id_end:at]
            return _Head(names, message[id_start:id_end], message[at:start], start)
        # Of several identifiers the last one would count: the parser decides.
        if tag == _ID and not id_end:
            id_start, id_end = at, end
        # Parameters, or a field that is unknown here.
        elif tag not in _OTHERS:
            return None
        at = end
    return None


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the length that begins *at*, and its end; past the message if it is not a length."""
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
    model: Model, request: pb.ModelInferRequest, response: pb.ModelInferResponse
) -> Template:
    start = pb.ModelInferResponse()
    start.CopyFrom(response)
    start.ClearField("id")
    start.ClearField("raw_output_contents")
    outputs = [
        _Output(output.name, len(raw), _RAW_OUTPUT + varint(len(raw)))
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    ]
    shape = tuple(request.inputs[0].shape)
    size = math.prod(shape) * np.dtype(model.manifest.input.dtype).itemsize
    return Template(model, shape, size, start.SerializeToString(), tuple(outputs))
