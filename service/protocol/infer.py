"""`ModelInfer`: tensors or encoded images in, tensors or the best classes out."""

from __future__ import annotations

import math

import numpy as np

from convoy.artifact.preprocess import is_image
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import Call
from convoy.service.engine import Model, Models
from convoy.service.protocol.outputs import RequestedOutput, add_output, requested_outputs
from convoy.service.protocol.parameters import flag, refuse_shared_memory, set_options
from convoy.service.protocol.tensors import DATATYPES, read_input


async def infer(models: Models, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
    """
    Run a model.

    Raises:
        ServiceError: If that fails; its class is the reason.
    """
    # Check everything before the request takes a place in the queue.
    model = models.find(call, request.model_name, request.model_version)
    for tensor in request.inputs:
        refuse_shared_memory(tensor.parameters)
    outputs = requested_outputs(request, model)
    set_options(call, request.parameters)
    timing = flag(request.parameters, "timing")
    items = read_input(request, model.manifest, model.max_batch_size)
    if isinstance(items, list):  # encoded images
        await model.infer_images(call, items)
    else:
        await model.infer(call, items)
    response = _response(request, model, call, outputs)
    call.responded()
    if timing:
        _add_timing(response, model, call)
    return response


def request_of_bytes(models: Models, name: str, version: str, data: bytes) -> pb.ModelInferRequest:
    """
    Build the request whose only input is *data*: an encoded image, or the elements of a tensor.

    Raises:
        ModelNotFoundError, ModelNotReadyError: As `Models.get`.
    """
    model = models.get(name, version)
    request = pb.ModelInferRequest(model_name=name, model_version=version)
    tensor = model.manifest.input
    item = tensor.item_shape
    item_bytes = math.prod(item) * np.dtype(tensor.dtype).itemsize
    # Case 1: as many bytes as some number of items have, and no image.
    if data and len(data) % item_bytes == 0 and not is_image(data):
        shape, datatype, raw = [len(data) // item_bytes, *item], DATATYPES[tensor.dtype], data
    # Case 2: one image, as an element of BYTES, which has its length before it.
    else:
        shape, datatype, raw = [1], "BYTES", len(data).to_bytes(4, "little") + data
    request.inputs.add(name=tensor.name, datatype=datatype, shape=shape)
    request.raw_input_contents.append(raw)
    return request


def _response(
    request: pb.ModelInferRequest, model: Model, call: Call, outputs: list[RequestedOutput]
) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(
        model_name=model.name, model_version=str(model.version), id=request.id
    )
    response.parameters["model_sha256"].string_param = model.manifest.model_sha256
    for output in outputs:
        add_output(response, output, call.outputs, model.manifest.labels)
    return response


def _add_timing(response: pb.ModelInferResponse, model: Model, call: Call) -> None:
    """Add the fields of `convoy.v1.Timing`, and the provider that ran the batch."""
    for phase, seconds in call.phases.items():
        response.parameters[f"{phase}_us"].int64_param = round(seconds * 1e6)
    response.parameters["batch_size"].int64_param = call.batch_size
    response.parameters["provider"].string_param = model.provider
