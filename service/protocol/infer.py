"""`ModelInfer`: tensors or encoded images in, tensors or the best classes out."""

from __future__ import annotations

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import find_model, responded
from convoy.service.protocol.outputs import Wanted, add_output, wanted_outputs
from convoy.service.protocol.parameters import flag, refuse_shared_memory, terms
from convoy.service.protocol.tensors import read_input
from convoy.service.serving.inference import Inference
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel


async def infer(
    registry: ModelRegistry, request: pb.ModelInferRequest, deadline: float
) -> pb.ModelInferResponse:
    """
    Run a model.

    Args:
        deadline: When the client stops waiting, on the event loop's clock.

    Raises:
        ServiceError: If it cannot be done; the class says why.
    """
    model = find_model(registry, request.model_name, request.model_version)
    with model:
        for tensor in request.inputs:
            refuse_shared_memory(tensor.parameters)
        wanted = wanted_outputs(request, model)
        conditions = terms(request.parameters, deadline)
        timing = flag(request.parameters, "timing")
        given = read_input(request, model.manifest, model.max_batch_size)
        if isinstance(given, list):
            inference = await model.infer_images(given, conditions)
        else:
            inference = await model.infer(given, conditions)
        response = _response(request, model, inference, wanted)
        respond_s = responded(model, inference)
        if timing:
            _add_timing(response, model, inference, respond_s)
        return response


def _response(
    request: pb.ModelInferRequest, model: ServedModel, inference: Inference, wanted: list[Wanted]
) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(
        model_name=model.name, model_version=str(model.version), id=request.id
    )
    response.parameters["model_sha256"].string_param = model.manifest.model_sha256
    for one in wanted:
        add_output(response, one, inference.outputs, model.manifest.labels)
    return response


def _add_timing(
    response: pb.ModelInferResponse, model: ServedModel, inference: Inference, respond_s: float
) -> None:
    """Tell what `convoy.v1.Timing` tells, and the provider that ran the batch."""
    spent = {
        "decode_us": inference.decode_s,
        "queue_us": inference.queue_s,
        "inference_us": inference.inference_s,
        "respond_us": respond_s,
    }
    for name, seconds in spent.items():
        response.parameters[name].int64_param = round(seconds * 1e6)
    response.parameters["batch_size"].int64_param = inference.batch_size
    response.parameters["provider"].string_param = model.session.provider
