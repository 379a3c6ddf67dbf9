"""One call of the native transport: its client on the fast path, and its context for handlers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NoReturn

import grpc
from pygrpc_native import NativeGrpcFront

from convoy.service.call import Failure
from convoy.service.rpc.unary import PUSHBACK, Metadata, failure_metadata
from convoy.service.telemetry.logs import Origin


class Client:
    """Who waits for a call on the fast path."""

    __slots__ = ("_call_id", "_ended", "_front", "_origin")

    def __init__(
        self, front: NativeGrpcFront, call_id: int, origin: Origin, ended: Callable[[int], None]
    ) -> None:
        self._front = front
        self._call_id = call_id
        self._origin = origin
        self._ended = ended

    def answer(self, response: bytes) -> None:
        """Send the answer."""
        metadata = self._origin.headers
        self._front.respond(self._call_id, response, trailing_metadata=metadata)
        self._ended(self._call_id)

    def fail(self, failure: Failure) -> None:
        """Say why there is none."""
        code: int = grpc.StatusCode[failure.status].value[0]
        metadata = _sendable(failure_metadata(failure, self._origin))
        self._front.fail(self._call_id, code, failure.details, metadata)
        self._ended(self._call_id)

    def leave(self) -> None:
        """Forget the call: it was cancelled."""
        self._ended(self._call_id)


def _sendable(metadata: Metadata) -> Metadata:
    """All but what is not to be had here; `RetryInfo` in the status says the same."""
    return [pair for pair in metadata if pair[0] != PUSHBACK]


class Context:
    """
    What handlers use of a `grpc.aio.ServicerContext`.

    Attributes:
        trailing: What is to be sent with the status.
    """

    def __init__(self, metadata: Metadata, deadline: float) -> None:
        self._metadata = metadata
        self._deadline = deadline
        self.trailing: Metadata = ()

    def invocation_metadata(self) -> Metadata:
        """What the client sent beside its request."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Seconds until the client stops waiting; None if it never does."""
        return None if self._deadline == math.inf else self._deadline - time.monotonic()

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Send this with the status."""
        self.trailing = metadata

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: Metadata
    ) -> NoReturn:
        """End the call; raises `Aborted`."""
        raise Aborted(code, details, _sendable(trailing_metadata))


class Aborted(Exception):  # noqa: N818 - not an error: how a call ends
    """
    Ends a handler that aborted its context.

    Attributes:
        code: gRPC's number of the status.
        details: Its message.
        trailing: What is to be sent with it.
    """

    def __init__(self, code: grpc.StatusCode, details: str, trailing: Metadata) -> None:
        super().__init__(details)
        self.code: int = code.value[0]
        self.details = details
        self.trailing = trailing
