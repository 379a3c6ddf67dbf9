"""The gRPC server: servicers, health, reflection, and an orderly stop."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from convoy.pb.convoy.v1 import classifier_pb2, classifier_pb2_grpc
from convoy.pb.inference import grpc_service_pb2, grpc_service_pb2_grpc
from convoy.service.call import Calls
from convoy.service.errors import StartError
from convoy.service.machine.sockets import listen, reason
from convoy.service.protocol.log_settings import LogSettings
from convoy.service.rpc.backlog import Backlog
from convoy.service.rpc.classifier_service import ClassifierServicer
from convoy.service.rpc.fast_path import FastPath
from convoy.service.rpc.grpcio import CallInterceptor
from convoy.service.rpc.health import HealthServicer
from convoy.service.rpc.inference_service import InferenceServicer
from convoy.service.rpc.limits import ConnectionLimits
from convoy.service.rpc.receiving import Readers
from convoy.service.rpc.reflection import add_reflection
from convoy.service.rpc.streams import StreamInterceptor
from convoy.service.rpc.transport import UnaryMethods, make_transport
from convoy.service.security.tls import Tls
from convoy.service.serving.control import ModelControl
from convoy.service.serving.registry import ModelRegistry

LINGER_S = 0.1
"""Time in seconds for the last answers to leave the socket before connections are closed."""

STOP_TIMEOUT_S = 0.5
"""Longest time for closing after that, in seconds; a connection that never sent a byte takes it."""

SERVICE_NAMES = (
    classifier_pb2.DESCRIPTOR.services_by_name["ClassifierService"].full_name,
    grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
)


class RpcServer:
    """
    The gRPC side of the server.

    Args:
        tls: Certificate and key; None disables TLS.
        limits: Limits of each connection, and of messages.
        max_images_per_call: Most images in one ClassifyBatch.

    Raises:
        StartError: If the transport is not installed.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        control: ModelControl,
        log_settings: LogSettings,
        calls: Calls,
        *,
        transport: Literal["grpcio", "native"],
        tls: Tls | None,
        limits: ConnectionLimits,
        max_images_per_call: int,
    ) -> None:
        self._backlog = Backlog(calls.lifecycle, calls.metrics)
        self._streams = StreamInterceptor(self._backlog)
        self._health = HealthServicer(calls.access, public=("", *SERVICE_NAMES))
        self._readers = Readers.make(timeout_s=limits.message_timeout_s, max_slow=limits.max_slow)
        infer = FastPath(registry)
        interceptor = CallInterceptor(calls, infer, self._backlog, self._readers)
        server = grpc.aio.server(
            interceptors=(interceptor, self._streams),
            # Otherwise a second server could start on the same port and take half of the calls.
            options=(*limits.options, ("grpc.so_reuseport", 0)),
        )
        classifier = ClassifierServicer(registry, max_images_per_call=max_images_per_call)
        inference = InferenceServicer(registry, control, log_settings, calls)
        methods = UnaryMethods(calls, limits.max_message_bytes)
        for target in (server, methods):
            classifier_pb2_grpc.add_ClassifierServiceServicer_to_server(classifier, target)
            grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, target)
        # Only grpcio serves health and reflection; the native transport passes calls on to it.
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        add_reflection((*SERVICE_NAMES, health.SERVICE_NAME), server)
        self._transport = make_transport(
            transport,
            server,
            methods,
            infer,
            registry,
            calls.lifecycle,
            backlog=self._backlog,
            tls=tls,
            limits=limits,
        )
        self._watching: list[asyncio.Task[None]] = []

    async def start(self, address: str, port: int, flag: str = "--grpc-port") -> int:
        """
        Listen, not ready yet; return the port, which is a free one if *port* is 0.

        Args:
            flag: The flag of the port, for errors.

        Raises:
            StartError: If the port is not available.
        """
        target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        try:
            # Try the port first: gRPC gives no reason for a failure, and writes its own log lines.
            listen(address, port).close()
            bound = self._transport.listen(target)
        except (OSError, RuntimeError) as error:
            why = reason(error, flag)
            raise StartError(f"cannot listen for gRPC on {target}: {why}") from error
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_unexpected)
        await self._transport.start()
        backlog = self._backlog.watch(self._transport.counts)
        self._watching = [
            asyncio.create_task(backlog, name="backlog"),
            *(asyncio.create_task(reader.watch(), name="reader") for reader in self._readers),
        ]
        return bound

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

    async def stop(self, linger_s: float = LINGER_S) -> None:
        """End open streams, let the last answers leave for *linger_s* seconds, and close."""
        for task in self._watching:
            task.cancel()
        self._streams.end()
        await asyncio.sleep(linger_s)
        await self._transport.stop(STOP_TIMEOUT_S)


def _is_unexpected(record: logging.LogRecord) -> bool:
    """Filter out grpc's tracebacks for what clients do, and the contents of their metadata."""
    error = record.exc_info[1] if record.exc_info else None
    # Case 1: metadata that is no UTF-8. grpc quotes it, and it may hold a token.
    if isinstance(error, UnicodeDecodeError):
        record.msg, record.args, record.exc_info = "metadata is not text", (), None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    # Case 2: a client disconnected, or we aborted its call.
    return not isinstance(error, grpc.aio.InternalError | grpc.aio.AbortError)
