"""The fast path of `ModelInfer`: without a parser or a message for each request.

Takes the requests that match a template, from their bytes to the queue and from the batch to the
bytes of the answer, all on the event loop. The call has the same life cycle as on the usual path:
it begins, holds its bytes, uses its model, and finishes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import Call
from convoy.service.errors import ServiceError
from convoy.service.protocol.templates import Match, Templates
from convoy.service.serving.registry import ModelRegistry

logger = logging.getLogger(__name__)

METHOD = "ModelInfer"
INFER_PATH = f"/inference.GRPCInferenceService/{METHOD}"

Reply = Callable[[bytes, ServiceError | None], None]
"""Called once with the response; or with no bytes and the error that ended the call."""


class FastPath:
    """Answers the calls whose requests match a template."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._templates = Templates(registry)

    def read(self, message: bytes) -> Match | None:
        """Read a request; None if it has to go the usual way."""
        return self._templates.read(message)

    def learn(self, message: bytes, response: pb.ModelInferResponse) -> None:
        """Make a template of a request that was answered in the usual way."""
        self._templates.learn(message, response)

    def start(self, call: Call, match: Match, size: int, reply: Reply) -> bool:
        """
        Start to answer *call*.

        Args:
            size: Bytes of the message.
            reply: Called when the call ends; before this returns, if it fails at once.

        Returns:
            Whether it waits for its answer now.
        """
        call.model = match.model.name
        try:
            call.begin(size)
        except ServiceError as error:
            reply(b"", error)
            return False
        call.use(match.model)
        call.on_done = partial(_finish, match, reply)
        try:
            match.model.offer(call, match.batch)
        except Exception as error:
            call.fail(error)
            return False
        return True

    def cancel(self, call: Call, match: Match) -> None:
        """Forget a call whose client has disconnected; nothing happens if it has ended already."""
        if not call.done:
            match.model.withdraw(call)
            call.finish(asyncio.CancelledError())


def _finish(match: Match, reply: Reply, call: Call) -> None:
    """Finish a call that was answered or has failed, and reply to its client."""
    response, error = b"", call.error
    call.error = None  # its traceback leads back to the call: a cycle would wait for the collector
    if error is None:
        try:
            response = match.response(call.outputs)
        except Exception as unforeseen:
            error = unforeseen
    failure = call.finish(error)
    try:
        reply(response, failure)
    except Exception:  # of one client; the others of its batch are answered
        logger.exception("internal error")
