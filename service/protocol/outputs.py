"""Outputs of a model in the form of the Open Inference Protocol: raw values or the best classes."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convoy.artifact.golden import as_scores
from convoy.artifact.manifest import OutputTensor
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.engine import Model
from convoy.service.errors import InvalidArgumentError
from convoy.service.protocol.parameters import Parameters, integer, refuse_shared_memory
from convoy.service.protocol.tensors import DATATYPES
from convoy.service.serving.top_k import check_finite, largest
from convoy.service.telemetry.batch_record import Outputs


class RequestedOutput(NamedTuple):
    """
    One output that a client requests.

    Attributes:
        classes: Number of the best classes to return in place of the values; None for the values.
    """

    output: OutputTensor
    classes: int | None = None


def requested_outputs(request: pb.ModelInferRequest, model: Model) -> list[RequestedOutput]:
    """
    Return the outputs that the client requests, in its order; all if it names none.

    Raises:
        InvalidArgumentError: If the model has no such output, or its classes cannot be returned.
        UnsupportedError: If an output is to be put into shared memory.
    """
    known = {output.name: output for output in model.manifest.outputs}
    if len(request.outputs) > len(known):
        # This also limits the answer: each name would add a copy of the output to it.
        raise InvalidArgumentError(
            f"too many outputs requested: model {model.name} has {len(known)}"
        )
    requested = []
    for tensor in request.outputs:
        refuse_shared_memory(tensor.parameters)
        if tensor.name not in known:
            raise InvalidArgumentError(
                f"model {model.name} has no output {tensor.name[:64]!r}: expected "
                f"{' or '.join(known)}"
            )
        output = known[tensor.name]
        requested.append(RequestedOutput(output, _class_count(tensor.parameters, output)))
    # A client that names no output requests them all.
    return requested or [RequestedOutput(output) for output in known.values()]


def add_output(
    response: pb.ModelInferResponse,
    requested: RequestedOutput,
    outputs: Outputs,
    labels: tuple[str, ...],
) -> None:
    """
    Add one output to *response*, raw.

    Raises:
        ScoresNotFiniteError: If the best classes are requested, and the scores are not finite.
    """
    output, values = requested.output, outputs[requested.output.name]
    datatype, shape = DATATYPES[output.dtype], list(values.shape)
    if requested.classes is None:
        raw = np.ascontiguousarray(values).tobytes()
    else:  # the classification extension: texts in place of the values
        texts = _best_classes(as_scores(values), requested.classes, labels)
        datatype, shape = "BYTES", [len(texts), len(texts[0])]
        raw = b"".join(_element(text) for row in texts for text in row)
    response.outputs.add(name=output.name, datatype=datatype, shape=shape)
    response.raw_output_contents.append(raw)


def _class_count(parameters: Parameters, output: OutputTensor) -> int | None:
    count = integer(parameters, "classification")
    if count is None:
        return None
    if count < 1:
        raise InvalidArgumentError(f"parameter 'classification' is {count}; it must be at least 1")
    # Only an output with one value for each class can be classified.
    if output.kind == "other":
        raise InvalidArgumentError(
            f"output {output.name!r} cannot be classified: it has no class scores"
        )
    return count


def _best_classes(scores: npt.NDArray[Any], count: int, labels: tuple[str, ...]) -> list[list[str]]:
    """Return Triton's `value:index:label` of the best classes of each image, best first."""
    check_finite(scores)
    best = largest(scores, min(count, scores.shape[1]))
    return [
        [f"{row[index]:.6f}:{index}:{labels[index]}" for index in indices]
        for row, indices in zip(scores, best.tolist(), strict=True)
    ]


def _element(text: str) -> bytes:
    """Encode an element of BYTES: its length in 4 bytes, little-endian, then its bytes."""
    data = text.encode()
    return struct.pack("<I", len(data)) + data
