"""The two rpcs of the Open Inference Protocol that run a model: one request, or a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from convoy.service.call import Call, Calls
from convoy.service.engine import Models
from convoy.service.errors import InvalidArgumentError, ServiceError
from convoy.service.protocol.infer import infer
from convoy.service.rpc.unary import Context, abort, arrival
from convoy.service.telemetry.logs import Origin

STREAM_WINDOW = 32
"""Maximum number of a stream's requests in progress at once; later ones wait in the connection."""

_Answered = tuple[pb.ModelStreamInferResponse, ServiceError | None]


class InferServicer(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """`ModelInfer` and `ModelStreamInfer`, for *models*."""

    def __init__(self, models: Models, calls: Calls) -> None:
        self._models = models
        self._calls = calls

    async def ModelInfer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
        return await infer(self._models, request, call)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """
        Run a model on each request, and answer in the order of the requests.

        A failure is reported in its answer and does not affect others. If the client sends
        `triton_grpc_error: true` in its metadata, the first failure ends the stream with its
        status. A message that cannot be parsed ends the stream.
        """
        origin, deadline = arrival(context)
        ends_on_error = ("triton_grpc_error", "true") in (context.invocation_metadata() or ())
        places = asyncio.Semaphore(STREAM_WINDOW)
        started: asyncio.Queue[asyncio.Task[_Answered] | None] = asyncio.Queue()
        # No memory is made for the messages of a stranger: an empty one is refused in their place.
        if not self._calls.access.allows("ModelStreamInfer", origin.token_digest):
            requests = _one_request()

        async def start_all() -> None:
            try:
                async for request in requests:
                    # While the window is full, flow control makes the client wait.
                    await places.acquire()
                    answering = self._answer_one(request, origin, deadline)
                    started.put_nowait(asyncio.create_task(answering))
            finally:
                started.put_nowait(None)

        starting = asyncio.create_task(start_all())
        task = None
        try:
            while task := await started.get():
                response, error = await task
                # Triton's clients choose: an error as the status of the stream, or as an answer.
                if error and ends_on_error:
                    await abort(context, error, origin)
                yield response
                places.release()
            await starting
        except DecodeError as error:
            await abort(context, self._unreadable(error, origin), origin)
        finally:  # the client may have disconnected with requests in progress
            starting.cancel()
            while task:
                task.cancel()
                task = None if started.empty() else started.get_nowait()

    def _unreadable(self, cause: DecodeError, origin: Origin) -> ServiceError:
        """Count a message that cannot be parsed as a call; return its error."""
        error = InvalidArgumentError(
            "the message is not a valid ModelInferRequest; see the .proto files"
        )
        error.__cause__ = cause
        try:
            with self._calls.open("ModelStreamInfer", origin):
                raise error
        except ServiceError as failure:
            return failure

    async def _answer_one(
        self, request: pb.ModelInferRequest, origin: Origin, deadline: float
    ) -> _Answered:
        try:
            with self._calls.open("ModelStreamInfer", origin, deadline) as call:
                call.hold(request.ByteSize())
                response = await self.ModelInfer(request, call)
        except ServiceError as error:
            response = pb.ModelInferResponse(id=request.id, model_name=request.model_name)
            response.parameters["error_reason"].string_param = error.reason
            answer = pb.ModelStreamInferResponse(error_message=str(error), infer_response=response)
            return answer, error
        # Every request has one answer, so each answer is the last one.
        response.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=response), None


async def _one_request() -> AsyncIterator[pb.ModelInferRequest]:
    yield pb.ModelInferRequest()
