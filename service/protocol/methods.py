"""Every rpc of the Open Inference Protocol that has one request and one response."""

from __future__ import annotations

from importlib.metadata import version

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import Call
from convoy.service.errors import ModelNotReadyError, UnsupportedError
from convoy.service.lifecycle import Lifecycle
from convoy.service.protocol import description, model_repository
from convoy.service.protocol.infer import infer
from convoy.service.protocol.log_settings import LogSettings
from convoy.service.protocol.model_statistics import statistics
from convoy.service.serving.control import ModelControl
from convoy.service.serving.registry import ModelRegistry


class InferenceProtocol:
    """
    Answers the rpcs, each in the method of its name, over whatever transport.

    Each method takes the message and the record of the call, and raises a `ServiceError` if it
    fails.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        control: ModelControl,
        lifecycle: Lifecycle,
        log_settings: LogSettings,
    ) -> None:
        self._registry = registry
        self._control = control
        self._lifecycle = lifecycle
        self._log_settings = log_settings
        self._version = version("convoy")  # read from the disk

    async def ServerLive(self, request: pb.ServerLiveRequest, call: Call) -> pb.ServerLiveResponse:
        """Tell that the process answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, call: Call
    ) -> pb.ServerReadyResponse:
        """Tell whether requests should be sent here."""
        return pb.ServerReadyResponse(ready=self._lifecycle.ready)

    async def ModelReady(self, request: pb.ModelReadyRequest, call: Call) -> pb.ModelReadyResponse:
        """Tell whether requests for a model should be sent here; NOT_FOUND if there is none."""
        try:
            self._registry.find(call, request.name, request.version)
        except ModelNotReadyError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._lifecycle.ready)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, call: Call
    ) -> pb.ServerMetadataResponse:
        """Describe the server."""
        return pb.ServerMetadataResponse(
            name=description.SERVER_NAME, version=self._version, extensions=description.EXTENSIONS
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, call: Call
    ) -> pb.ModelMetadataResponse:
        """Describe the tensors of a model."""
        model = self._registry.find(call, request.name, request.version)
        return description.metadata(model, list(self._registry.versions(model.name)))

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, call: Call
    ) -> pb.ModelConfigResponse:
        """Tell how a model is served."""
        model = self._registry.find(call, request.name, request.version)
        policy = self._control.spec(model.name).policy
        return pb.ModelConfigResponse(config=description.config(model, policy))

    async def ModelInfer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
        """Run a model on a tensor, or on encoded images."""
        return await infer(self._registry, request, call)

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, call: Call
    ) -> pb.ModelStatisticsResponse:
        """Tell what a version, every version of a model, or every model has done."""
        if request.version:
            models = [self._registry.find(call, request.name, request.version)]
        elif request.name:
            name = self._registry.find(call, request.name).name
            models = list(self._registry.versions(name).values())
        else:
            models = self._registry.models()
        return pb.ModelStatisticsResponse(model_stats=map(statistics, models))

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, call: Call
    ) -> pb.RepositoryIndexResponse:
        """List the versions of the repository, and the state of each."""
        return await model_repository.index(self._control, request)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, call: Call
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model, or load it anew."""
        return await model_repository.load(self._control, self._registry, request)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, call: Call
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a model; returns when its last request is answered."""
        return await model_repository.unload(self._control, request)

    async def LogSettings(
        self, request: pb.LogSettingsRequest, call: Call
    ) -> pb.LogSettingsResponse:
        """Read and change what is logged."""
        return self._log_settings.change(request)

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, call: Call
    ) -> pb.SystemSharedMemoryStatusResponse:
        """Refuse: the server does not have this rpc."""
        raise _unsupported("SystemSharedMemoryStatus")

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, call: Call
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Refuse: the server does not have this rpc."""
        raise _unsupported("SystemSharedMemoryRegister")

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, call: Call
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Refuse: the server does not have this rpc."""
        raise _unsupported("SystemSharedMemoryUnregister")

    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, call: Call
    ) -> pb.CudaSharedMemoryStatusResponse:
        """Refuse: the server does not have this rpc."""
        raise _unsupported("CudaSharedMemoryStatus")

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, call: Call
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Refuse: the server does not have this rpc."""
        raise _unsupported("CudaSharedMemoryRegister")

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, call: Call
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """Refuse: the server does not have this rpc."""
        raise _unsupported("CudaSharedMemoryUnregister")

    async def TraceSetting(
        self, request: pb.TraceSettingRequest, call: Call
    ) -> pb.TraceSettingResponse:
        """Refuse: the server does not have this rpc."""
        raise _unsupported("TraceSetting")


def _unsupported(rpc: str) -> UnsupportedError:
    return UnsupportedError(f"this server has no {rpc}: see ServerMetadata's extensions")
