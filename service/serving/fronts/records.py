"""The records between a front and the engine, and the layout of a slot.

A slot belongs to the front until its record is sent, to the engine until the record of the answer
comes back, and to the front again after that. Nobody else reads or writes it meanwhile. Between
RESERVE and READY both may write: the front an image to the start of the slot, the engine the text
of an error to its end.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convoy.artifact.manifest import OutputTensor
from convoy.service import errors
from convoy.service.errors import InternalError, ServiceError
from convoy.service.telemetry.batch_record import BatchTimes, Outputs

Array = npt.NDArray[Any]


class ToEngine(enum.IntEnum):
    """The kinds of records that a front sends."""

    HELLO = 1
    """The front listens."""
    SUBMIT = 2
    """Run the tensor in the slot."""
    RESERVE = 3
    """Give the request a place; its images are being decoded into the slot."""
    READY = 4
    """The slot of a reserved request holds its tensor now."""
    WITHDRAW = 5
    """The client has disconnected; the slot comes back when nothing reads it any more."""
    ROOM = 6
    """Refuse if the queue has no room for so many images."""
    RELEASE = 7
    """No call holds the model any more, and none will."""
    SEEN = 8
    """The snapshot with this number, in place of a ticket, is in use."""


class ToFront(enum.IntEnum):
    """The kinds of records that the engine sends."""

    ANSWER = 1
    """The outputs are in the slot."""
    FAILURE = 2
    """The text of an error is at the end of the slot."""
    APART = 3
    """The outputs do not fit into the slot: they are in the blob before this record."""
    ASK = 4
    """Send a report with this number, in place of a ticket."""
    STOP = 5
    """Answer the calls in flight, and end."""
    REPEATED = 6
    """
    A request that was answered, and repeated on a shadow, has ended there. If the answer is to be
    logged, it is in the blob before this record; `size` is 0 if it is not.
    """


class Blob(enum.IntEnum):
    """The kinds of contents that are too large for records."""

    START = 1
    SNAPSHOT = 2
    REPORT = 3
    OUTPUTS = 4
    CREDENTIALS = 5


class Demand(NamedTuple):
    """
    A record of a front.

    Attributes:
        method: Index in `METHODS`; 0 if the request belongs to no call.
        ticket: The front's number for the request, which its answer repeats.
        model: The engine's number for the model.
        offset: Start of the slot in the arena, in bytes.
        size: Size of the slot, in bytes.
        deadline: As `Request.deadline`: all processes of a machine share the clock.
        whole: The front's number for the call of which the request is one image of several; 0 if it
            is a call of its own.
    """

    kind: int
    priority: int = 0
    method: int = 0
    ticket: int = 0
    model: int = 0
    images: int = 0
    offset: int = 0
    size: int = 0
    deadline: float = math.inf
    whole: int = 0


class Reply(NamedTuple):
    """
    A record of the engine.

    Attributes:
        error: Index in `ERRORS`.
        is_repeated: Of an answer: whether REPEATED follows.
        size: Bytes of the outputs, or of the text of the error.
        retry_after_s: NaN if the error states none.
    """

    kind: int
    error: int = 0
    is_repeated: int = 0
    ticket: int = 0
    size: int = 0
    batch_size: int = 0
    started: float = 0.0
    ended: float = 0.0
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0
    retry_after_s: float = math.nan

    @property
    def times(self) -> BatchTimes:
        return BatchTimes(self.input_s, self.infer_s, self.output_s)


DEMAND = struct.Struct("<BBBxIIIQQdQ")
REPLY = struct.Struct("<BBBxIII6d")

METHODS = ("", "Classify", "ClassifyBatch", "ModelInfer", "ModelStreamInfer")

TEXT_BYTES = 512
"""Room for the text of an error at the end of a slot, behind tensor and outputs."""

ALIGNMENT = 64
"""Slots begin at multiples of a cache line, as do the rows that a processor loads at once."""


def _all_errors(root: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    for found in root.__subclasses__():
        yield found
        yield from _all_errors(found)


ERRORS = sorted(
    (found for found in _all_errors() if found.__module__ == errors.__name__),
    key=lambda found: found.__name__,
)
"""Every error of the engine, in the same order in each process."""


def error_index(error: Exception) -> int:
    """Return the index of an error's class; that of `InternalError` for any other exception."""
    return ERRORS.index(type(error) if isinstance(error, ServiceError) else InternalError)


def slot_bytes(input_bytes: int, outputs: Sequence[OutputTensor], labels: int, images: int) -> int:
    """Return the size of a slot for *images*: the outputs take the place of the input."""
    output_bytes = 0
    for output in outputs:
        shape = (labels,) if output.shape is None else output.shape
        # A dimension that varies counts as 1: larger outputs come apart from the slot.
        values = math.prod(abs(length) for length in shape) * images
        output_bytes += 8 * (len(shape) + 3) + values * np.dtype(output.dtype).itemsize
    size = max(images * input_bytes, output_bytes) + TEXT_BYTES
    return -(-size // ALIGNMENT) * ALIGNMENT


def encode_outputs(outputs: Outputs, specs: Sequence[OutputTensor]) -> bytes:
    """Return the outputs in the form that `decode_outputs` reads."""
    parts: list[bytes] = []
    for spec in specs:
        values = outputs[spec.name]
        parts += (_shape(values.shape), values.tobytes(), bytes(-values.nbytes % 8))
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _shape(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<{len(shape) + 1}q", len(shape), *shape)


def decode_outputs(data: bytes, specs: Sequence[OutputTensor]) -> Outputs:
    """Return outputs that are written as: number of dimensions, shape, values; in 8-byte steps."""
    outputs, at = {}, 0
    for spec in specs:
        (dimensions,) = struct.unpack_from("<q", data, at)
        shape = struct.unpack_from(f"<{dimensions}q", data, at + 8)
        at += 8 * (dimensions + 1)
        count = math.prod(shape)
        values = np.frombuffer(data, spec.dtype, count, at)
        outputs[spec.name] = values.reshape(shape)
        at += -(-values.nbytes // 8) * 8
    return outputs
