"""The grpcio transport: gRPC's reference implementation, with TLS and every kind of stream."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc

from convoy.service.call import Calls
from convoy.service.errors import ServiceError
from convoy.service.rpc.fast_path import INFER_PATH, METHOD, FastPath
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
    """A transport in which *server* itself listens, with *tls* unless that is None."""

    def __init__(self, server: grpc.aio.Server, tls: Tls | None) -> None:
        self._server = server
        self._tls = tls

    def listen(self, target: str) -> int:
        if self._tls is None:
            return self._server.add_insecure_port(target)
        return self._server.add_secure_port(target, _credentials(self._tls))

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every unary call of our services; *infer* is tried before the handler of its rpc."""

    def __init__(self, calls: Calls, infer: FastPath) -> None:
        self._calls = calls
        self._infer = infer
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
                return handler and guarded(self._calls.access, handler, handler_call_details)
            answer = _infer_behavior(unary, self._infer) if path == INFER_PATH else _behavior(unary)
            self._wrapped[path] = grpc.unary_unary_rpc_method_handler(
                answer, request_deserializer=None, response_serializer=None
            )
        return self._wrapped[path]


def _behavior(handler: UnaryHandler) -> Any:
    """Return the behavior of *handler*, from bytes to bytes."""

    async def answer(message: bytes, context: Context) -> bytes:
        origin, deadline = arrival(context)
        try:
            response = await handler.answer(message, origin, deadline)
        except ServiceError as error:
            await abort(context, error, origin)
        context.set_trailing_metadata(origin.headers)
        return handler.serialize(response)

    return answer


def _infer_behavior(handler: UnaryHandler, infer: FastPath) -> Any:
    """Return the behavior of `ModelInfer`, from bytes to bytes: on the fast path if possible."""

    async def answer(message: bytes, context: Context) -> bytes:
        origin, deadline = arrival(context)
        match = infer.read(message)
        try:
            # The usual path; the next request like this one may take the fast path.
            if match is None:
                response = await handler.answer(message, origin, deadline)
                infer.learn(message, response)
                payload = handler.serialize(response)
            else:
                call = handler.calls.open(METHOD, origin, deadline)
                replied: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
                infer.start(call, match, len(message), partial(_resolve, replied))
                try:
                    payload = await replied
                except asyncio.CancelledError:  # the client has disconnected
                    infer.cancel(call, match)
                    raise
        except ServiceError as error:
            await abort(context, error, origin)
        context.set_trailing_metadata(origin.headers)
        return payload

    return answer


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
