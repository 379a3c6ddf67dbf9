"""The gRPC server of the engine: every service, with health and reflection."""

from __future__ import annotations

from typing import Any, Literal

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from convoy.pb.convoy.v1 import (
    classifier_pb2,
    classifier_pb2_grpc,
    shadow_pb2,
    shadow_pb2_grpc,
)
from convoy.pb.inference import grpc_service_pb2, grpc_service_pb2_grpc
from convoy.service.call import Calls
from convoy.service.protocol.log_settings import LogSettings
from convoy.service.rpc.classifier_service import ClassifierServicer
from convoy.service.rpc.health import HealthServicer
from convoy.service.rpc.inference_service import InferenceServicer
from convoy.service.rpc.limits import ConnectionLimits
from convoy.service.rpc.listener import RpcListener
from convoy.service.rpc.reflection import add_reflection
from convoy.service.rpc.shadow_service import ShadowServicer
from convoy.service.security.tls import GrpcTls
from convoy.service.serving.control import ModelControl
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.shadows.shadows import Shadows

SERVICE_NAMES = (
    classifier_pb2.DESCRIPTOR.services_by_name["ClassifierService"].full_name,
    shadow_pb2.DESCRIPTOR.services_by_name["ShadowService"].full_name,
    grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
)


class RpcServer(RpcListener):
    """
    The gRPC side of the server. It listens, not ready yet, once it is started.

    Args:
        tls: Certificate and key; None disables TLS.
        limits: Limits of each connection, and of messages.
        max_images_per_call: Maximum number of images in one ClassifyBatch.

    Raises:
        StartError: If the transport is not installed.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        control: ModelControl,
        shadows: Shadows,
        log_settings: LogSettings,
        calls: Calls,
        *,
        transport: Literal["grpcio", "native"],
        tls: GrpcTls | None,
        limits: ConnectionLimits,
        max_images_per_call: int,
    ) -> None:
        self._health = HealthServicer(calls.access, public=("", *SERVICE_NAMES))
        classifier = ClassifierServicer(registry, max_images_per_call=max_images_per_call)
        shadow = ShadowServicer(control, shadows)
        inference = InferenceServicer(registry, control, log_settings, calls)

        def add_services(server: Any) -> None:
            classifier_pb2_grpc.add_ClassifierServiceServicer_to_server(classifier, server)
            shadow_pb2_grpc.add_ShadowServiceServicer_to_server(shadow, server)
            grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, server)

        def add_others(server: grpc.aio.Server) -> None:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            add_reflection((*SERVICE_NAMES, health.SERVICE_NAME), server)

        super().__init__(
            registry, calls, add_services, add_others, transport=transport, tls=tls, limits=limits
        )

    async def set_ready(self, ready: bool = True) -> None:
        """Set the health of the server and of its services."""
        for name in ("", *SERVICE_NAMES):
            await self.set_model_ready(name, ready)

    async def set_model_ready(self, name: str, ready: bool) -> None:
        """Set the health of a model, or of a service."""
        status = health_pb2.HealthCheckResponse
        await self._health.set(name, status.SERVING if ready else status.NOT_SERVING)

    async def set_not_ready(self) -> None:
        """Set the health of everything to not serving, permanently."""
        await self._health.enter_graceful_shutdown()

    async def _open(self) -> None:
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        await super()._open()
