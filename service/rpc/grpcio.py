"""The grpcio transport: gRPC's reference implementation, with TLS and every kind of stream."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc

from convoy.service.call import Calls
from convoy.service.errors import ServiceError
from convoy.service.rpc.fast_path import INFER_PATH, METHOD, FastPath
from convoy.service.rpc.unary import (
    Context,
    Continuation,
    UnaryHandler,
    abort,
    deadline_of,
    unary_handler,
)
from convoy.service.security.tls import Tls
from convoy.service.telemetry.logs import Origin


class GrpcioTransport:
    """
    Lets *server* listen itself.

    Args:
        tls: TLS's files; None is no TLS.
    """

    def __init__(self, server: grpc.aio.Server, tls: Tls | None) -> None:
        self._server = server
        self._tls = tls

    def listen(self, target: str) -> int:
        """Bind the port; return its number."""
        if self._tls is None:
            return self._server.add_insecure_port(target)
        return self._server.add_secure_port(target, _credentials(self._tls))

    async def start(self) -> None:
        """Answer calls from now on."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Let calls go on for *grace_s* seconds at most, then close."""
        await self._server.stop(grace_s)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """
    Surrounds every unary call of our services.

    Args:
        infer: Answers calls of `ModelInfer` before their handler does.
    """

    def __init__(self, calls: Calls, infer: FastPath) -> None:
        self._calls = calls
        self._infer = infer
        self._surrounded: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the surrounded handler of a method; that of other services as it is."""
        path = handler_call_details.method
        if path not in self._surrounded:
            handler = await continuation(handler_call_details)
            unary = handler and unary_handler(self._calls, path, handler)
            if not unary:
                return handler
            answer = _infer_behavior(unary, self._infer) if path == INFER_PATH else _behavior(unary)
            self._surrounded[path] = grpc.unary_unary_rpc_method_handler(
                answer, request_deserializer=None, response_serializer=None
            )
        return self._surrounded[path]


def _behavior(handler: UnaryHandler) -> Any:
    """Answer calls of *handler*, from bytes to bytes."""

    async def answer(message: bytes, context: Context) -> bytes:
        origin = Origin.from_headers(dict(context.invocation_metadata() or ()))
        deadline = deadline_of(context.time_remaining())
        try:
            response = await handler.answer(message, origin, deadline)
        except ServiceError as error:
            await abort(context, error, origin)
        context.set_trailing_metadata(origin.headers)
        return handler.serialize(response)

    return answer


def _infer_behavior(handler: UnaryHandler, infer: FastPath) -> Any:
    """Answer calls of `ModelInfer`, from bytes to bytes: on the fast path, or else as usual."""

    async def answer(message: bytes, context: Context) -> bytes:
        origin = Origin.from_headers(dict(context.invocation_metadata() or ()))
        deadline = deadline_of(context.time_remaining())
        match = infer.read(message)
        try:
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
                except asyncio.CancelledError:
                    infer.cancel(call, match)
                    raise
        except ServiceError as error:
            await abort(context, error, origin)
        context.set_trailing_metadata(origin.headers)
        return payload

    return answer


def _resolve(replied: asyncio.Future[bytes], response: bytes, error: ServiceError | None) -> None:
    # It is cancelled with the task that waits for it, which learns of that a turn of the event loop
    # later: a reply may come between.
    if replied.done():
        return
    if error is None:
        replied.set_result(response)
    else:
        replied.set_exception(error)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """Return credentials that follow *tls*; gRPC's threads ask for them at each new connection."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        certificate, key, client_ca = tls.pem
        return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        configuration,
        require_client_authentication=tls.pem.client_ca is not None,
    )
