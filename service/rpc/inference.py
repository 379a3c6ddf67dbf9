"""`inference.GRPCInferenceService`: the core of the Open Inference Protocol, tensors in and out."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from service.classifier import Inference, ServedModel
from service.errors import InvalidArgumentError, ModelNotReadyError
from service.lifecycle import Lifecycle
from service.registry import ModelRegistry
from service.rpc.calls import Context, deadline_of, find_model
from service.rpc.tensors import DATATYPES, read_input

SERVER_NAME = "convoy"

PLATFORM = "onnx_onnxv1"
"""The protocol's name for ONNX models."""


class InferenceServicer(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers from *registry*."""

    def __init__(self, registry: ModelRegistry, lifecycle: Lifecycle) -> None:
        self._registry = registry
        self._lifecycle = lifecycle
        self._version = version("convoy")  # read from the disk

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: Context
    ) -> pb.ServerLiveResponse:
        """Say that the process answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: Context
    ) -> pb.ServerReadyResponse:
        """Say whether requests should be sent here."""
        return pb.ServerReadyResponse(ready=self._lifecycle.ready)

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: Context
    ) -> pb.ModelReadyResponse:
        """Say whether requests for a model should be sent here; NOT_FOUND if there is none."""
        try:
            find_model(self._registry, request.name, request.version)
        except ModelNotReadyError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._lifecycle.ready)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """Describe the server."""
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=self._version)

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """Describe the tensors of a model."""
        manifest = find_model(self._registry, request.name, request.version).manifest
        tensor = pb.ModelMetadataResponse.TensorMetadata
        classes = len(manifest.labels)
        return pb.ModelMetadataResponse(
            name=manifest.name,
            versions=[str(manifest.version)],
            platform=PLATFORM,
            inputs=[
                tensor(
                    name=manifest.input.name,
                    datatype=DATATYPES[manifest.input.dtype],
                    shape=[-1, *manifest.input.item_shape],
                )
            ],
            outputs=[
                tensor(name=output.name, datatype="FP32", shape=[-1, classes])
                for output in manifest.outputs
            ],
        )

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        """Run a model on a tensor, or on encoded images."""
        model = find_model(self._registry, request.model_name, request.model_version)
        names = _output_names(request, model)
        given = read_input(request, model.manifest, model.max_batch_size)
        deadline = deadline_of(context)
        if isinstance(given, list):
            inference = await model.infer_images(given, deadline)
        else:
            inference = await model.infer(given, deadline)
        response = _response(request, model, inference, names)
        model.responded(inference)
        return response


def _output_names(request: pb.ModelInferRequest, model: ServedModel) -> list[str]:
    """Names of the outputs that the client wants, in its order; all if it names none."""
    known = [output.name for output in model.manifest.outputs]
    wanted = [output.name for output in request.outputs] or known
    if len(wanted) > len(known):
        # Also bounds the answer: each name would add a copy of the output to it.
        raise InvalidArgumentError(f"model {model.name} has no more than {len(known)} outputs")
    for name in wanted:
        if name not in known:
            raise InvalidArgumentError(
                f"model {model.name} has outputs {', '.join(known)}, not {name[:64]!r}"
            )
    return wanted


def _response(
    request: pb.ModelInferRequest, model: ServedModel, inference: Inference, names: list[str]
) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(
        model_name=model.name, model_version=str(model.manifest.version), id=request.id
    )
    response.parameters["model_sha256"].string_param = model.manifest.model_sha256
    for name in names:
        values = inference.outputs[name]
        response.outputs.add(name=name, datatype="FP32", shape=values.shape)
        response.raw_output_contents.append(values.astype(np.float32, copy=False).tobytes())
    return response
