"""One gRPC port: its transport, interceptors, and an orderly stop, whatever its services are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Literal

import grpc

from convoy.service.call import Calls
from convoy.service.engine import Models
from convoy.service.errors import StartError
from convoy.service.machine.sockets import listen, reason
from convoy.service.rpc.backlog import Backlog
from convoy.service.rpc.fast_path import FastPath
from convoy.service.rpc.grpcio import CallInterceptor
from convoy.service.rpc.limits import ConnectionLimits
from convoy.service.rpc.receiving import Readers
from convoy.service.rpc.streams import StreamInterceptor
from convoy.service.rpc.transport import UnaryMethods, make_transport
from convoy.service.security.tls import GrpcTls

LINGER_S = 0.1
"""Time in seconds for the last answers to leave the socket before connections are closed."""

STOP_TIMEOUT_S = 0.5
"""Longest time for closing after that, in seconds; a connection that never sent a byte takes it."""


class RpcListener:
    """
    The gRPC side of a process, on one port.

    Args:
        add_services: Adds our services to a server, or to a stand-in that collects their methods.
        add_others: Adds health and reflection to a server. Only grpcio serves them: the native
            transport passes calls on to the server behind it.
        tls: Certificate and key; None disables TLS.
        limits: Limits of each connection, and of messages.
        shared: Whether other processes listen on the port, too; the kernel then spreads the
            connections over them.

    Raises:
        StartError: If the transport is not installed.
    """

    def __init__(
        self,
        models: Models,
        calls: Calls,
        add_services: Callable[[Any], None],
        add_others: Callable[[grpc.aio.Server], None],
        *,
        transport: Literal["grpcio", "native"],
        tls: GrpcTls | None,
        limits: ConnectionLimits,
        shared: bool = False,
    ) -> None:
        self._shared = shared
        self._backlog = Backlog(calls.lifecycle, calls.metrics)
        self._streams = StreamInterceptor(self._backlog)
        self._readers = Readers.make(timeout_s=limits.message_timeout_s, max_slow=limits.max_slow)
        infer = FastPath(models)
        interceptor = CallInterceptor(calls, infer, self._backlog, self._readers)
        server = grpc.aio.server(
            interceptors=(interceptor, self._streams),
            # Otherwise a second server could start on the same port and take half of the calls.
            options=(*limits.options, ("grpc.so_reuseport", int(shared))),
        )
        methods = UnaryMethods(calls, limits.max_message_bytes)
        for target in (server, methods):
            add_services(target)
        add_others(server)
        self._transport = make_transport(
            transport,
            server,
            methods,
            infer,
            models,
            calls.lifecycle,
            backlog=self._backlog,
            tls=tls,
            limits=limits,
            shared=shared,
        )
        self._watching: list[asyncio.Task[None]] = []

    async def start(self, address: str, port: int, flag: str = "--grpc-port") -> int:
        """
        Listen; return the port, which is a free one if *port* is 0.

        Args:
            flag: The flag of the port, for errors.

        Raises:
            StartError: If the port is not available.
        """
        target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        try:
            # Try the port first: gRPC gives no reason for a failure, and writes its own log lines.
            if not self._shared:
                listen(address, port).close()
            bound = self._transport.listen(target)
        except (OSError, RuntimeError) as error:
            why = reason(error, flag)
            raise StartError(f"cannot listen for gRPC on {target}: {why}") from error
        await self._open()
        counting = self._backlog.watch(self._transport.counts)
        self._watching.append(asyncio.create_task(counting, name="backlog"))
        return bound

    async def start_behind(self, path: str) -> None:
        """Listen on a Unix socket at *path*; the processes that forward calls have counted them."""
        self._transport.listen(f"unix:{path}")
        await self._open()

    async def stop(self, linger_s: float = LINGER_S) -> None:
        """End open streams, let the last answers leave for *linger_s* seconds, and close."""
        for task in self._watching:
            task.cancel()
        self._streams.end()
        await asyncio.sleep(linger_s)
        await self._transport.stop(STOP_TIMEOUT_S)

    async def _open(self) -> None:
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_unexpected)
        await self._transport.start()
        self._watching = [
            asyncio.create_task(reader.watch(), name="reader") for reader in self._readers
        ]


def _is_unexpected(record: logging.LogRecord) -> bool:
    """Filter out grpc's tracebacks for what clients do, and the contents of their metadata."""
    error = record.exc_info[1] if record.exc_info else None
    # Case 1: metadata that is no UTF-8. grpc quotes it, and it may hold a token.
    if isinstance(error, UnicodeDecodeError):
        record.msg, record.args, record.exc_info = "metadata is not text", (), None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    # Case 2: a client disconnected, or we aborted its call.
    return not isinstance(error, grpc.aio.InternalError | grpc.aio.AbortError)
