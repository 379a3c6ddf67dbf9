"""The interface of the two gRPC transports, and the choice between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc
from google.protobuf import descriptor_pool

from convoy.service.call import Calls
from convoy.service.engine import Models
from convoy.service.errors import StartError
from convoy.service.lifecycle import Lifecycle
from convoy.service.rpc.backlog import Backlog, CallCounts, newest_server_counts
from convoy.service.rpc.fast_path import FastPath
from convoy.service.rpc.grpcio import GrpcioTransport
from convoy.service.rpc.limits import ConnectionLimits
from convoy.service.rpc.unary import UnaryHandler, unary_handler
from convoy.service.security.tls import GrpcTls


class Transport(Protocol):
    """Listens on one port for one server."""

    def listen(self, target: str) -> int:
        """
        Bind the port of *target*, `HOST:PORT`; return its number.

        Raises:
            OSError, RuntimeError: If the port is not available.
        """

    async def start(self) -> None:
        """Answer calls from now on."""

    def counts(self) -> CallCounts:
        """Return the calls of this port that the transport has received, and that have ended."""

    async def stop(self, grace_s: float) -> None:
        """Let calls continue for at most *grace_s* seconds, then close."""


class UnaryMethods:
    """
    A stand-in for a server in generated code, which collects the unary methods.

    Args:
        max_message_bytes: Largest request of each method.

    Attributes:
        handlers: The handlers of the methods, by path.
    """

    def __init__(self, calls: Calls, max_message_bytes: int) -> None:
        self._calls = calls
        self._max_message_bytes = max_message_bytes
        self.handlers: dict[str, UnaryHandler] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Collect the unary methods of services, as listed in their descriptors."""
        for service in handlers:
            assert isinstance(service, grpc.ServiceRpcHandler)
            name = service.service_name()
            for method in descriptor_pool.Default().FindServiceByName(name).methods:
                path = f"/{name}/{method.name}"
                # A service need not implement every method.
                if (handler := service.service(_CallDetails(path))) is None:
                    continue
                if unary := unary_handler(self._calls, path, handler, self._max_message_bytes):
                    self.handlers[path] = unary


@dataclass
class _CallDetails:
    """The details of a call by which a service finds its handler."""

    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...] = ()


def make_transport(
    name: str,
    server: grpc.aio.Server,
    methods: UnaryMethods,
    infer: FastPath,
    models: Models,
    lifecycle: Lifecycle,
    *,
    backlog: Backlog,
    tls: GrpcTls | None,
    limits: ConnectionLimits,
    shared: bool = False,
) -> Transport:
    """
    Make the transport *name*, `grpcio` or `native`, for *server*, which was created just now.

    Args:
        methods: The unary methods of the server.
        infer: The fast path of `ModelInfer`.
        models: The models, whose names label calls.
        lifecycle: Counts the calls in flight.
        backlog: Counts the calls that handlers have taken.
        tls: Certificate and key; None disables TLS. Only `grpcio` supports it.
        limits: Limits of each connection, which the options of *server* state, too.
        shared: Whether other processes listen on the port; an option of *server* says so, too.

    Raises:
        StartError: If the transport is not installed.
    """
    server_counts = newest_server_counts()
    if name == "grpcio":
        return GrpcioTransport(server, server_counts, tls)
    try:
        from convoy.service.rpc.native import NativeTransport  # an extra
    except ImportError as error:
        raise StartError(
            "the native transport is not installed; install the extra fast, or use "
            "--transport grpcio"
        ) from error
    return NativeTransport(
        server,
        methods.handlers,
        infer,
        models,
        lifecycle,
        backlog=backlog,
        server_counts=server_counts,
        limits=limits,
        shared=shared,
    )
