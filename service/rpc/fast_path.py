"""The fast path of `ModelInfer`: no parser, message or task for each request.

A request that matches a template goes from its bytes to the queue, and from the batch to the bytes
of its response, on the event loop. Its call has the same life cycle as on the usual path: it
begins, holds its bytes, uses its model, and finishes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import Call
from convoy.service.engine import Models
from convoy.service.errors import ServiceError
from convoy.service.protocol.templates import Match, Templates

logger = logging.getLogger(__name__)

INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"

Reply = Callable[[bytes, ServiceError | None], None]
"""Called once with the response; or with no bytes and the error that ended the call."""


class FastPath:
    """Answers calls whose requests match a template."""

    def __init__(self, models: Models) -> None:
        self._templates = Templates(models)

    def read(self, message: bytes) -> Match | None:
        """Match a request to a template; return None if it has to take the usual path."""
        return self._templates.read(message)

    def learn(self, message: bytes, response: pb.ModelInferResponse) -> None:
        """Make a template of a request that was answered on the usual path."""
        self._templates.learn(message, response)

    def start(self, call: Call, match: Match, size: int, reply: Reply) -> bool:
        """
        Begin *call*, and offer its batch to the model.

        Args:
            size: Bytes of the message.
            reply: Called when the call ends; before this returns, if it fails at once.

        Returns:
            True if the call waits for its answer now.
        """
        try:
            call.begin(size)
        # Refused by rights or limits: `begin` has finished the call.
        except ServiceError as error:
            reply(b"", error)
            return False
        call.use(match.model)
        call.on_done = partial(_finish, match, reply)
        try:
            match.model.offer(call, match.batch)
        # Refused by the queue: `on_done` finishes the call and replies.
        except Exception as error:
            call.fail(error)
            return False
        return True

    def cancel(self, call: Call, match: Match) -> None:
        """Withdraw a call whose client has disconnected; do nothing if it has ended."""
        if not call.done:
            match.model.withdraw(call)
            call.finish(asyncio.CancelledError())


def _finish(match: Match, reply: Reply, call: Call) -> None:
    """Finish a call that was answered or has failed, and reply to its client."""
    response, error = b"", call.error
    call.error = None  # its traceback refers to the call: break the cycle
    if error is None:
        try:
            response = match.response(call.outputs)
        except Exception as unexpected:
            error = unexpected
    failure = call.finish(error)
    try:
        reply(response, failure)
    except Exception:  # the other clients of the batch must be answered
        logger.exception("internal error")
