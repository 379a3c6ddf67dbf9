"""The fast path of `ModelInfer`: without a parser or a message for each request.

Takes the requests that have a template, from their bytes to the queue and from the batch to the
bytes of the answer, all on the event loop. It counts, logs and fails as the usual way does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.batching.batcher import Answer, Place
from convoy.service.call import Call, CallFailed, Calls, Failure
from convoy.service.protocol.templates import Request, Templates
from convoy.service.serving.inference import Ran, Tensor, Terms
from convoy.service.serving.registry import ModelRegistry
from convoy.service.telemetry.logs import Origin

logger = logging.getLogger(__name__)

METHOD = "ModelInfer"
INFER_PATH = f"/inference.GRPCInferenceService/{METHOD}"


class Client(Protocol):
    """Who waits for the answer to one call."""

    def answer(self, response: bytes) -> None:
        """Take the answer."""

    def fail(self, failure: Failure) -> None:
        """Learn why there is none."""

    def leave(self) -> None:
        """Wait no more: the call was cancelled."""


class FastPath:
    """Begins the calls whose requests have a template."""

    def __init__(self, registry: ModelRegistry, calls: Calls) -> None:
        self._calls = calls
        self._templates = Templates(registry)

    def read(self, message: bytes) -> Request | None:
        """Read a request; None if it is to go the usual way."""
        return self._templates.read(message)

    def learn(self, message: bytes, response: pb.ModelInferResponse) -> None:
        """See what was answered in the usual way."""
        self._templates.learn(message, response)

    def begin(
        self, request: Request, size: int, origin: Origin, deadline: float, client: Client
    ) -> FastCall | None:
        """
        Begin a call; *client* learns how it ends.

        Args:
            size: Bytes of the message.
            origin: Where it comes from.
            deadline: When the client stops waiting, on the event loop's clock.

        Returns:
            The call; None if it has failed already.
        """
        call = self._calls.answering(METHOD, origin, deadline)
        call.model = request.model.name
        try:
            call.begin()
        except CallFailed as failed:
            client.fail(failed.failure)
            return None
        fast = FastCall(call, request, client)
        try:
            call.hold(size)
            fast.place = request.model.offer(request.batch, fast, Terms(deadline))
        except Exception as error:
            fast.set_exception(error)
            return None
        return fast


class FastCall:
    """
    One call; to the queue, the place where its answer goes.

    Attributes:
        place: What it holds of the queue, set as soon as it does.
    """

    __slots__ = ("_call", "_client", "_done", "_model", "_request", "_started_at", "place")

    def __init__(self, call: Call, request: Request, client: Client) -> None:
        self._call = call
        self._request = request
        self._model = request.template.model
        self._client = client
        self._done = False
        self._started_at = time.perf_counter()
        self.place: Place[Tensor, Ran] | None = None
        self._model.__enter__()  # so that it is not closed meanwhile

    def done(self) -> bool:
        """Whether the client waits no more."""
        return self._done

    def set_result(self, answer: Answer[Ran]) -> None:
        """Answer the call."""
        request, model, call = self._request, self._model, self._call
        inference = model.ran(answer, len(request.batch), self._started_at)
        try:
            response = request.response(inference.outputs)
        except Exception as error:
            self.set_exception(error)
            return
        call.spent(inference, model.responded(inference))
        self._leave()
        call.end()
        try:
            self._client.answer(response)
        except Exception:  # of one client; the others of its batch are answered
            logger.exception("internal error")

    def set_exception(self, error: Exception) -> None:
        """Fail the call."""
        self._model.failed(self._started_at, error)
        self._leave()
        if failed := self._call.end(error):
            try:
                self._client.fail(failed.failure)
            except Exception:
                logger.exception("internal error")

    def cancel(self) -> None:
        """Forget the call: its client has gone."""
        if not self._done:
            self._leave()
            self._call.end(asyncio.CancelledError())
            self._client.leave()

    def _leave(self) -> None:
        self._done = True
        if self.place:
            self.place.leave()
            self.place = None  # it leads back here: a cycle would wait for the garbage collector
        self._model.__exit__(None, None, None)
