"""Every rpc of the Open Inference Protocol that has one request and one response."""

from __future__ import annotations

from typing import NoReturn

import convoy
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import Call
from convoy.service.errors import ModelNotFoundError, ModelNotReadyError, UnsupportedError
from convoy.service.lifecycle import Lifecycle
from convoy.service.protocol import description, model_repository
from convoy.service.protocol.infer import infer, request_of_bytes
from convoy.service.protocol.log_settings import LogSettings
from convoy.service.protocol.model_statistics import statistics
from convoy.service.serving.control import ModelControl
from convoy.service.serving.registry import ModelRegistry


class InferenceProtocol:
    """
    The unary rpcs of the protocol, for either transport.

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
        self._version = convoy.__version__  # read from the disk

    async def ServerLive(self, request: pb.ServerLiveRequest, call: Call) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, call: Call
    ) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._lifecycle.ready)

    async def ModelReady(self, request: pb.ModelReadyRequest, call: Call) -> pb.ModelReadyResponse:
        """
        Return whether requests for a model should be sent here.

        An unknown one is not ready, as in Triton: clients ask before they load a model. Nor could
        strangers, who may call this, find out names and versions.
        """
        try:
            self._registry.find(call, request.name, request.version)
        except (ModelNotFoundError, ModelNotReadyError):
            return pb.ModelReadyResponse(ready=False)
        # A server that starts or stops answers this, too, but should get no requests.
        return pb.ModelReadyResponse(ready=self._lifecycle.ready)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, call: Call
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name=description.SERVER_NAME, version=self._version, extensions=description.EXTENSIONS
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, call: Call
    ) -> pb.ModelMetadataResponse:
        model = self._registry.find(call, request.name, request.version)
        return description.metadata(model, list(self._registry.versions(model.name)))

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, call: Call
    ) -> pb.ModelConfigResponse:
        model = self._registry.find(call, request.name, request.version)
        spec = self._control.spec(model.name)
        return pb.ModelConfigResponse(config=description.config(model, spec))

    async def ModelInfer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
        return await infer(self._registry, request, call)

    def request_of_bytes(self, name: str, version: str, data: bytes) -> pb.ModelInferRequest:
        """Build the request of `ModelInfer` whose only input is *data*; see `infer`."""
        return request_of_bytes(self._registry, name, version, data)

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, call: Call
    ) -> pb.ModelStatisticsResponse:
        """Return the statistics of a version, of all versions of a model, or of all models."""
        await call.refresh_counts()
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
        return await model_repository.index(self._control, request)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, call: Call
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model, or load it again."""
        return await model_repository.load(self._control, self._registry, request)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, call: Call
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a model; return when its last request is answered."""
        return await model_repository.unload(self._control, request)

    async def LogSettings(
        self, request: pb.LogSettingsRequest, call: Call
    ) -> pb.LogSettingsResponse:
        """Change the settings of the log that the request names, and return all of them."""
        return self._log_settings.change(request)

    # The rpcs of extensions that `ServerMetadata` does not list.

    async def SystemSharedMemoryStatus(self, request: object, call: Call) -> NoReturn:
        raise _unsupported("SystemSharedMemoryStatus")

    async def SystemSharedMemoryRegister(self, request: object, call: Call) -> NoReturn:
        raise _unsupported("SystemSharedMemoryRegister")

    async def SystemSharedMemoryUnregister(self, request: object, call: Call) -> NoReturn:
        raise _unsupported("SystemSharedMemoryUnregister")

    async def CudaSharedMemoryStatus(self, request: object, call: Call) -> NoReturn:
        raise _unsupported("CudaSharedMemoryStatus")

    async def CudaSharedMemoryRegister(self, request: object, call: Call) -> NoReturn:
        raise _unsupported("CudaSharedMemoryRegister")

    async def CudaSharedMemoryUnregister(self, request: object, call: Call) -> NoReturn:
        raise _unsupported("CudaSharedMemoryUnregister")

    async def TraceSetting(self, request: object, call: Call) -> NoReturn:
        raise _unsupported("TraceSetting")


def _unsupported(rpc: str) -> UnsupportedError:
    return UnsupportedError(
        f"{rpc} is not supported; ServerMetadata lists the supported extensions"
    )
