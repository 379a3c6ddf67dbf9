"""The grpcio transport: gRPC's reference implementation, which speaks TLS and everything else."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from convoy.service.call import CallFailed, Calls, Failure
from convoy.service.rpc.fast_path import INFER_PATH, FastPath
from convoy.service.rpc.unary import (
    Context,
    Continuation,
    UnaryHandler,
    abort,
    deadline_of,
    origin_of,
    unary_handler,
)
from convoy.service.security.tls import Tls


class GrpcioTransport:
    """
    Lets *server* listen itself.

    Args:
        tls: What TLS is spoken with; None is no TLS.
    """

    def __init__(self, server: grpc.aio.Server, tls: Tls | None) -> None:
        self._server = server
        self._tls = tls

    def listen(self, target: str) -> int:
        """Take the port; returns its number."""
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
        infer: Takes calls of `ModelInfer` before their handler does.
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
        """Return the surrounded handler of a method; that of others as it is."""
        path = handler_call_details.method
        if path not in self._surrounded:
            handler = await continuation(handler_call_details)
            unary = handler and unary_handler(self._calls, path, handler)
            if not unary:
                return handler
            if path == INFER_PATH:
                unary = _on_the_fast_path(unary, self._infer)
            self._surrounded[path] = grpc.unary_unary_rpc_method_handler(
                unary.answer, request_deserializer=None, response_serializer=unary.serialize
            )
        return self._surrounded[path]


def _on_the_fast_path(usual: UnaryHandler, infer: FastPath) -> UnaryHandler:
    """Answer calls of `ModelInfer`, from bytes to bytes: on the fast path, or else as usual."""

    async def answer(message: bytes, context: Context) -> bytes:
        request = infer.read(message)
        if request is None:
            response = await usual.answer(message, context)
            infer.learn(message, response)
            return usual.serialize(response)
        origin = origin_of(context.invocation_metadata())
        client = _Client()
        call = infer.begin(request, len(message), origin, deadline_of(context), client)
        try:
            payload = await client.answered
        except CallFailed as failed:
            await abort(context, failed.failure, origin)
        except asyncio.CancelledError:
            if call:
                call.cancel()
            raise
        context.set_trailing_metadata(origin.headers)
        return payload

    return UnaryHandler(answer, bytes, usual.missed)


class _Client:
    """
    Who waits for a call on the fast path.

    Attributes:
        answered: The answer, or a `CallFailed`. It is cancelled with the task that waits for it,
            which then learns of that a turn of the event loop later: an answer may come between.
    """

    __slots__ = ("answered",)

    def __init__(self) -> None:
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answer(self, response: bytes) -> None:
        if not self.answered.done():
            self.answered.set_result(response)

    def fail(self, failure: Failure) -> None:
        if not self.answered.done():
            self.answered.set_exception(CallFailed(failure))

    def leave(self) -> None:
        """Nothing: its task knows that it was cancelled."""


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """Credentials that follow *tls*; gRPC's own threads ask for them at each new connection."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        certificate, key, client_ca = tls.pem
        return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        configuration,
        require_client_authentication=tls.pem.client_ca is not None,
    )
