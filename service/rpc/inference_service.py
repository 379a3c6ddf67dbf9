"""`inference.GRPCInferenceService`: the Open Inference Protocol over gRPC."""

from convoy.service.call import Calls
from convoy.service.protocol.log_settings import LogSettings
from convoy.service.protocol.methods import InferenceProtocol
from convoy.service.rpc.infer_service import InferServicer
from convoy.service.serving.control import ModelControl
from convoy.service.serving.registry import ModelRegistry


class InferenceServicer(InferenceProtocol, InferServicer):
    """The rpcs of the service: the protocol's unary rpcs, and its stream."""

    def __init__(
        self,
        registry: ModelRegistry,
        control: ModelControl,
        log_settings: LogSettings,
        calls: Calls,
    ) -> None:
        InferenceProtocol.__init__(self, registry, control, calls.lifecycle, log_settings)
        InferServicer.__init__(self, registry, calls)
