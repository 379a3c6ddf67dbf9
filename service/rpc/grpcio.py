"""The grpcio transport: gRPC's reference implementation, with TLS and every kind of stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc

from convoy.service.call import Call, Calls
from convoy.service.errors import ServiceError
from convoy.service.protocol.templates import Match
from convoy.service.rpc.backlog import Backlog, CallCounts
from convoy.service.rpc.fast_path import INFER_PATH, FastPath
from convoy.service.rpc.guard import guarded
from convoy.service.rpc.receiving import Readers
from convoy.service.rpc.unary import (
    Context,
    Continuation,
    UnaryHandler,
    abort,
    abort_without_message,
    arrival,
    unary_handler,
)
from convoy.service.security.tls import GrpcTls

Answer = Callable[[bytes, Call], Awaitable[bytes]]
"""From the bytes of a message, and the record of its call, to the bytes of the response."""


class GrpcioTransport:
    """
    A transport in which *server* itself listens.

    Args:
        counts: Returns the counts of *server*.
        tls: Certificate and key; None disables TLS.
    """

    def __init__(
        self, server: grpc.aio.Server, counts: Callable[[], CallCounts], tls: GrpcTls | None
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
        readers: Read their messages.
    """

    def __init__(self, calls: Calls, infer: FastPath, backlog: Backlog, readers: Readers) -> None:
        self._calls = calls
        self._infer = infer
        self._backlog = backlog
        self._readers = readers
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the wrapped handler of a method, or the handler itself if it is not ours."""
        self._backlog.reach()
        path = handler_call_details.method
        if path not in self._wrapped:
            handler = await continuation(handler_call_details)
            unary = handler and unary_handler(self._calls, path, handler)
            # A stream, health, reflection, or a method that does not exist.
            if not unary:
                handler = handler and guarded(
                    self._calls,
                    self._backlog,
                    self._readers,
                    handler,
                    handler_call_details,
                )
                # Streams count themselves. The others end at once.
                if handler is None or not handler.response_streaming:
                    self._backlog.count()
                return handler
            answer = self._infer_answer(unary) if path == INFER_PATH else _answer(unary)
            # As a stream of one message, which our code reads: with a right, and with a limit.
            self._wrapped[path] = grpc.stream_unary_rpc_method_handler(
                self._behavior(unary, answer), request_deserializer=None, response_serializer=None
            )
        return self._wrapped[path]

    def _behavior(self, handler: UnaryHandler, answer: Answer) -> Any:
        """Return the behavior of *handler*, which answers with *answer*."""
        access, backlog = self._calls.access, self._backlog
        reader = self._readers.of(handler.method)

        async def behave(_: object, context: Context) -> bytes:
            origin, deadline = arrival(context)
            try:
                # First the right: no memory is made for the message of a stranger.
                access.check(handler.method, origin.token_digest)
                message = await reader.read(context)
            except ServiceError as error:
                with backlog:
                    await abort(context, handler.refuse(origin, deadline, error), origin)
            if message is None:
                await abort_without_message(context)
            with backlog:
                try:
                    payload = await answer(message, handler.open(origin, deadline))
                except ServiceError as error:
                    await abort(context, error, origin)
                context.set_trailing_metadata(origin.headers)
                return payload

        return behave

    def _infer_answer(self, handler: UnaryHandler) -> Answer:
        """Return the answer of `ModelInfer`: on the fast path if possible."""
        infer, usual = self._infer, handler.answer

        async def answer(message: bytes, call: Call) -> bytes:
            if match := infer.read(message):
                return await _fast(infer, call, match, message)
            # The usual path; the next request like this one may take the fast path.
            response = await usual(message, call)
            infer.learn(message, response)
            return handler.serialize(response)

        return answer


def _answer(handler: UnaryHandler) -> Answer:
    """Return the answer of any other method."""

    async def answer(message: bytes, call: Call) -> bytes:
        return handler.serialize(await handler.answer(message, call))

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


def _credentials(tls: GrpcTls) -> grpc.ServerCredentials:
    """Return credentials that gRPC reads again from *tls* at each new connection."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        certificate, key, client_ca = tls.pem
        return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)

    return grpc.dynamic_ssl_server_credentials(
        configuration(), configuration, require_client_authentication=tls.pem.client_ca is not None
    )
