"""The gRPC server of a front: it answers inference itself, and forwards everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health

from convoy.pb.convoy.v1 import classifier_pb2_grpc, shadow_pb2
from convoy.pb.inference import grpc_service_pb2_grpc
from convoy.service.call import Calls
from convoy.service.engine import Models
from convoy.service.rpc import reflection
from convoy.service.rpc.classifier_service import ClassifierServicer
from convoy.service.rpc.forwarding import forwarding_handler
from convoy.service.rpc.infer_service import InferServicer
from convoy.service.rpc.limits import ConnectionLimits
from convoy.service.rpc.listener import RpcListener
from convoy.service.security.tls import GrpcTls
from convoy.service.telemetry.metrics import INFERENCE_METHODS

_SHADOWS = shadow_pb2.DESCRIPTOR.services_by_name["ShadowService"].full_name


class FrontServer(RpcListener):
    """
    The gRPC side of a front, on the port that all fronts share.

    Args:
        engine: Channel to the server of the engine.
        max_images_per_call: Maximum number of images in one ClassifyBatch.

    Raises:
        StartError: If the transport is not installed.
    """

    def __init__(
        self,
        models: Models,
        calls: Calls,
        engine: grpc.aio.Channel,
        *,
        transport: Literal["grpcio", "native"],
        tls: GrpcTls | None,
        limits: ConnectionLimits,
        max_images_per_call: int,
    ) -> None:
        classifier = ClassifierServicer(models, max_images_per_call=max_images_per_call)
        inference = InferServicer(models, calls)

        def add_services(server: Any) -> None:
            target = _WithForwarding(server, engine)
            classifier_pb2_grpc.add_ClassifierServiceServicer_to_server(classifier, target)
            grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, target)

        def add_others(server: grpc.aio.Server) -> None:
            server.add_generic_rpc_handlers(
                tuple(
                    _Forwarded(name, engine)
                    for name in (_SHADOWS, health.SERVICE_NAME, *reflection.SERVICE_NAMES)
                )
            )

        super().__init__(
            models,
            calls,
            add_services,
            add_others,
            transport=transport,
            tls=tls,
            limits=limits,
            shared=True,
        )


class _Forwarded(grpc.ServiceRpcHandler):
    """
    A service of which *own* answers inference, if given, and the engine everything else.

    The service's descriptor lists its methods.
    """

    def __init__(
        self, name: str, engine: grpc.aio.Channel, own: grpc.ServiceRpcHandler | None = None
    ) -> None:
        self._name = name
        self._own = own
        methods = descriptor_pool.Default().FindServiceByName(name).methods
        self._handlers = {
            f"/{name}/{method.name}": forwarding_handler(engine, f"/{name}/{method.name}")
            for method in methods
            if own is None or method.name not in INFERENCE_METHODS
        }

    def service_name(self) -> str:
        return self._name

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler := self._handlers.get(handler_call_details.method):
            return handler
        return self._own.service(handler_call_details) if self._own else None


class _WithForwarding:
    """A stand-in for *server* in generated code, which lets the engine answer some methods."""

    def __init__(self, server: Any, engine: grpc.aio.Channel) -> None:
        self._server = server
        self._engine = engine

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.ServiceRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(
            tuple(_Forwarded(own.service_name(), self._engine, own) for own in handlers)
        )
