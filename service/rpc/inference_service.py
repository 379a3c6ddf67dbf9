"""`inference.GRPCInferenceService`: the Open Inference Protocol over gRPC."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from google.protobuf.message import DecodeError

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from convoy.service.call import CallFailed, Calls, Failure, received
from convoy.service.errors import InvalidArgumentError, UnsupportedError
from convoy.service.protocol.methods import InferenceProtocol
from convoy.service.rpc.unary import Context, abort, deadline_of, metadata_of, origin_of
from convoy.service.telemetry.logs import Origin

STREAM_WINDOW = 32
"""Most requests of one stream that are worked on at once; the next ones wait in the connection."""

_Answered = tuple[pb.ModelStreamInferResponse, Failure | None]

_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]


class InferenceServicer(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """Hands every unary rpc to *protocol*; streams are unrolled here."""

    def __init__(self, protocol: InferenceProtocol, calls: Calls) -> None:
        self._protocol = protocol
        self._calls = calls
        for method in _SERVICE.methods:
            if method.name not in ("ModelInfer", "ModelStreamInfer"):
                setattr(self, method.name, _answer_by(protocol, method.name))

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        """Run a model on a tensor, or on encoded images."""
        return await self._protocol.model_infer(request, deadline_of(context))

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """
        Run a model on each request; the answers keep the order of the requests.

        A failure is told in its answer and harms no other; a client that asks for it by
        `triton_grpc_error` in its metadata gets the first one as the status of the stream.
        A message that is no request ends the stream.
        """
        origin, deadline = origin_of(context.invocation_metadata()), deadline_of(context)
        ends_on_error = metadata_of(context, "triton_grpc_error") == "true"
        places = asyncio.Semaphore(STREAM_WINDOW)
        started: asyncio.Queue[asyncio.Task[_Answered] | None] = asyncio.Queue()

        async def start_all() -> None:
            try:
                async for request in requests:
                    await places.acquire()
                    answering = self._answer_one(request, origin, deadline)
                    started.put_nowait(asyncio.create_task(answering))
            finally:
                started.put_nowait(None)

        starting = asyncio.create_task(start_all())
        task = None
        try:
            while task := await started.get():
                response, failure = await task
                if failure and ends_on_error:
                    await abort(context, failure, origin)
                yield response
                places.release()
            await starting
        except DecodeError as error:
            await abort(context, self._unreadable(error, origin), origin)
        finally:
            starting.cancel()
            while task:
                task.cancel()
                task = None if started.empty() else started.get_nowait()

    def _unreadable(self, error: DecodeError, origin: Origin) -> Failure:
        """Count a message of a stream that is none; those before it are answered."""
        try:
            with self._calls.answering("ModelStreamInfer", origin):
                raise InvalidArgumentError("the message is not a ModelInferRequest") from error
        except CallFailed as failed:
            return failed.failure

    async def _answer_one(
        self, request: pb.ModelInferRequest, origin: Origin, deadline: float
    ) -> _Answered:
        try:
            with self._calls.answering("ModelStreamInfer", origin, deadline):
                received(request.ByteSize())
                response = await self._protocol.model_infer(request, deadline)
        except CallFailed as failed:
            response = pb.ModelInferResponse(id=request.id, model_name=request.model_name)
            response.parameters["error_reason"].string_param = failed.failure.reason
            told = pb.ModelStreamInferResponse(
                error_message=failed.failure.details, infer_response=response
            )
            return told, failed.failure
        # Every request has one answer, so each answer is the last one.
        response.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=response), None


def _answer_by(protocol: InferenceProtocol, rpc: str) -> Callable[[Any, Context], Awaitable[Any]]:
    """The handler of a unary rpc."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", rpc).lower()
    handler = getattr(protocol, name, None)

    async def answer(request: Any, context: Context) -> Any:
        if handler is None:
            raise UnsupportedError(f"this server has no {rpc}: see ServerMetadata's extensions")
        return await handler(request)

    return answer
