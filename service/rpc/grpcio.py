"""The grpcio transport: gRPC's reference implementation, with TLS and every kind of stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc

from convoy.service.call import Call, Calls
from convoy.service.errors import ServiceError
from convoy.service.protocol.templates import Match
from convoy.service.rpc.backlog import Backlog, CallCounts
from convoy.service.rpc.fast_path import INFER_PATH, FastPath
from convoy.service.rpc.guard import guarded
from convoy.service.rpc.unary import (
    Context,
    Continuation,
    UnaryHandler,
    abort,
    arrival,
    unary_handler,
)
from convoy.service.security.tls import Tls


class GrpcioTransport:
    """
    A transport in which *server* itself listens.

    Args:
        counts: Returns the counts of *server*.
        tls: Certificate and key; None disables TLS.
    """

    def __init__(
        self, server: grpc.aio.Server, counts: Callable[[], CallCounts], tls: Tls | None
    ) -> None:
        self._server = server
        self._tls = tls
        self.counts = counts

    def listen(self, target: str) -> int:
        if self._tls is None:
            return self._server.add_insecure_port(target)
        return self._server.add_secure_port(target, _credentials(self._tls))

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """
    Wraps every unary call of our services.

    Args:
        infer: Tried before the handler of its rpc.
        backlog: Counts the calls.
    """

    def __init__(self, calls: Calls, infer: FastPath, backlog: Backlog) -> None:
        self._calls = calls
        self._infer = infer
        self._backlog = backlog
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the wrapped handler of a method, or the handler itself if it is not ours."""
        path = handler_call_details.method
        if path not in self._wrapped:
            handler = await continuation(handler_call_details)
            unary = handler and unary_handler(self._calls, path, handler)
            # A stream, health, reflection, or a method that does not exist.
            if not unary:
                handler = handler and guarded(
                    self._calls.access, self._backlog, handler, handler_call_details
                )
                # Streams count themselves. The others end at once.
                if handler is None or not handler.response_streaming:
                    self._backlog.count()
                return handler
            infer = path == INFER_PATH
            answer = self._infer_behavior(unary) if infer else self._behavior(unary)
            self._wrapped[path] = grpc.unary_unary_rpc_method_handler(
                answer, request_deserializer=None, response_serializer=None
            )
        return self._wrapped[path]

    def _behavior(self, handler: UnaryHandler) -> Any:
        """Return the behavior of *handler*, from bytes to bytes."""
        backlog = self._backlog

        async def answer(message: bytes, context: Context) -> bytes:
            with backlog:
                call = handler.open(*arrival(context))
                try:
                    response = await handler.answer(message, call)
                except ServiceError as error:
                    await abort(context, error, call.origin)
                context.set_trailing_metadata(call.origin.headers)
                return handler.serialize(response)

        return answer

    def _infer_behavior(self, handler: UnaryHandler) -> Any:
        """Return the behavior of `ModelInfer`: on the fast path if possible."""
        backlog, infer = self._backlog, self._infer

        async def answer(message: bytes, context: Context) -> bytes:
            with backlog:
                match = infer.read(message)
                call = handler.open(*arrival(context))
                try:
                    # The usual path; the next request like this one may take the fast path.
                    if match is None:
                        response = await handler.answer(message, call)
                        infer.learn(message, response)
                        payload = handler.serialize(response)
                    else:
                        payload = await _fast(infer, call, match, message)
                except ServiceError as error:
                    await abort(context, error, call.origin)
                context.set_trailing_metadata(call.origin.headers)
                return payload

        return answer


async def _fast(infer: FastPath, call: Call, match: Match, message: bytes) -> bytes:
    """Answer a call on the fast path."""
    replied: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    infer.start(call, match, len(message), partial(_resolve, replied))
    try:
        return await replied
    except asyncio.CancelledError:  # the client has disconnected
        infer.cancel(call, match)
        raise


def _resolve(replied: asyncio.Future[bytes], response: bytes, error: ServiceError | None) -> None:
    # A disconnect cancels the future one turn of the event loop before its task can withdraw the
    # call: the reply may come in between.
    if replied.done():
        return
    if error is None:
        replied.set_result(response)
    else:
        replied.set_exception(error)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """Return credentials that gRPC reads again from *tls* at each new connection."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        certificate, key, client_ca = tls.pem
        return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)

    return grpc.dynamic_ssl_server_credentials(
        configuration(), configuration, require_client_authentication=tls.pem.client_ca is not None
    )
