"""Every rpc of the Open Inference Protocol, and where each is answered."""

from __future__ import annotations

import math
from importlib.metadata import version

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import find_model
from convoy.service.errors import ModelNotReadyError
from convoy.service.lifecycle import Lifecycle
from convoy.service.protocol import description, model_repository
from convoy.service.protocol.infer import infer
from convoy.service.protocol.log_settings import LogSettings
from convoy.service.protocol.model_statistics import statistics
from convoy.service.serving.control import ModelControl
from convoy.service.serving.registry import ModelRegistry


class InferenceProtocol:
    """
    Answers the rpcs, each in a method of its name; what has no method here is unsupported.

    Whatever fails raises a `ServiceError`. Each is to be called within `Calls.answering`.
    """

    def __init__(
        self, registry: ModelRegistry, control: ModelControl, lifecycle: Lifecycle
    ) -> None:
        self._registry = registry
        self._control = control
        self._lifecycle = lifecycle
        self._log_settings = LogSettings()
        self._version = version("convoy")  # read from the disk

    async def server_live(self, request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """Say that the process answers."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """Say whether requests should be sent here."""
        return pb.ServerReadyResponse(ready=self._lifecycle.ready)

    async def model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """Say whether requests for a model should be sent here; NOT_FOUND if there is none."""
        try:
            find_model(self._registry, request.name, request.version)
        except ModelNotReadyError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._lifecycle.ready)

    async def server_metadata(self, request: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """Describe the server."""
        return pb.ServerMetadataResponse(
            name=description.SERVER_NAME, version=self._version, extensions=description.EXTENSIONS
        )

    async def model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """Describe the tensors of a model."""
        model = find_model(self._registry, request.name, request.version)
        return description.metadata(model, list(self._registry.versions(model.name)))

    async def model_config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """Tell how a model is served."""
        model = find_model(self._registry, request.name, request.version)
        policy = self._control.spec(model.name).policy
        return pb.ModelConfigResponse(config=description.config(model, policy))

    async def model_infer(
        self, request: pb.ModelInferRequest, deadline: float = math.inf
    ) -> pb.ModelInferResponse:
        """Run a model on a tensor, or on encoded images, before *deadline*."""
        return await infer(self._registry, request, deadline)

    async def model_statistics(
        self, request: pb.ModelStatisticsRequest
    ) -> pb.ModelStatisticsResponse:
        """Tell what a version, every version of a model, or every model has done."""
        if request.version:
            models = [find_model(self._registry, request.name, request.version)]
        elif request.name:
            name = find_model(self._registry, request.name).name
            models = list(self._registry.versions(name).values())
        else:
            models = self._registry.models()
        return pb.ModelStatisticsResponse(model_stats=map(statistics, models))

    async def repository_index(
        self, request: pb.RepositoryIndexRequest
    ) -> pb.RepositoryIndexResponse:
        """List the versions of the repository, and the state of each."""
        return await model_repository.index(self._control, request)

    async def repository_model_load(
        self, request: pb.RepositoryModelLoadRequest
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model, or load it anew."""
        return await model_repository.load(self._control, self._registry, request)

    async def repository_model_unload(
        self, request: pb.RepositoryModelUnloadRequest
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a model; returns when its last request is answered."""
        return await model_repository.unload(self._control, request)

    async def log_settings(self, request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
        """Read and change what is logged."""
        return self._log_settings.change(request)
