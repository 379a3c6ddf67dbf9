"""The native transport: HTTP/2 and gRPC outside the GIL; calls take the GIL in bursts.

It answers the unary calls of our services. Everything else (streams, health, reflection) is passed
on to the grpcio server behind it, over a Unix socket: clients use one port.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import grpc
from pygrpc_native import EVENT_CANCEL, NativeGrpcFront

from convoy.service.call import Call
from convoy.service.engine import Models
from convoy.service.errors import RequestExpiredError, ServiceError
from convoy.service.lifecycle import Lifecycle
from convoy.service.protocol.templates import Match
from convoy.service.rpc.backlog import Backlog, CallCounts
from convoy.service.rpc.fast_path import INFER_PATH, FastPath
from convoy.service.rpc.limits import ConnectionLimits
from convoy.service.rpc.unary import (
    PUSHBACK,
    Metadata,
    UnaryHandler,
    error_metadata,
    error_text,
)
from convoy.service.telemetry.logs import Origin

logger = logging.getLogger(__name__)

FOLLOWS_MS = 1
"""Longest time that the event loop itself waits for the next burst, in milliseconds."""

BURST = 256
"""Maximum number of calls in one burst."""

REFUSING_SHARE = 0.25
"""
Largest share of the event loop's time that bursts may take of which most calls are refused.

Refusing a call costs about as much as answering it with a small network, and the client may retry
at once. While no burst is read, calls wait in HTTP/2 and then, by its limit on streams, in the
clients, and the cores run the admitted ones.
"""

_INTERNAL = grpc.StatusCode.INTERNAL.value[0]

_Details = tuple[Metadata, str, float | None]
_Event = tuple[int, int, int, bytes | None, Any, _Details | None]


class NativeTransport:
    """
    A transport that listens for *server*, and answers unary calls itself.

    Args:
        server: Has every service; neither started nor listening.
        handlers: Handlers of the calls to answer here, by path.
        infer: Tried before the handler of `ModelInfer`.
        models: The models, whose names label calls that are not read whole.
        lifecycle: Counts the calls in flight.
        backlog: Counts the calls of this transport and of *server*.
        server_counts: Returns the counts of *server*.
        limits: Limits of each connection, and of messages; age and idle time have no effect here.
        shared: Whether other processes listen on the port, too.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        handlers: Mapping[str, UnaryHandler],
        infer: FastPath,
        models: Models,
        lifecycle: Lifecycle,
        *,
        backlog: Backlog,
        server_counts: Callable[[], CallCounts],
        limits: ConnectionLimits,
        shared: bool,
    ) -> None:
        self._server = server
        self._server_counts = server_counts
        self._backlog = backlog
        self._models = models
        self._paths = list(handlers)
        self._handlers = list(handlers.values())
        self._limits = limits
        self._shared = shared
        self._front: NativeGrpcFront | None = None
        self._all_taken = threading.Semaphore(0)  # released when the thread is to wait again
        self._infer = infer
        self._lifecycle = lifecycle
        self._infer_handler = handlers.get(INFER_PATH)
        self._calls: dict[int, Callable[[], object]] = {}  # a function that cancels it, by id
        self._idle = asyncio.Event()
        self._idle.set()

    def listen(self, target: str) -> int:
        self._front = NativeGrpcFront(
            target,
            [(path, False) for path in self._paths],
            call_details=True,
            metrics=True,
            keepalive_permit_without_calls=True,
            keepalive_time_ms=self._limits.keepalive_ms,
            keepalive_timeout_ms=self._limits.keepalive_timeout_ms,
            max_concurrent_streams=self._limits.max_streams,
            max_metadata_size=self._limits.max_metadata_bytes,
            reuse_port=self._shared,
        )
        return self._front.bound_port

    async def start(self) -> None:
        assert self._front is not None
        # An abstract socket (Linux): it needs no folder, and ends with the process.
        socket = f"convoy-{uuid.uuid4().hex}"
        self._server.add_insecure_port(f"unix-abstract:{socket}")
        await self._server.start()
        self._front.set_fallback(f"\0{socket}")
        self._front.start()
        args = (self._front, asyncio.get_running_loop())
        threading.Thread(target=self._receive, args=args, name="native", daemon=True).start()

    def counts(self) -> CallCounts:
        started, ended = self._server_counts()
        front = self._front.metrics() if self._front else None
        for method in front["methods"].values() if front else ():
            started += method["started"]
            ended += sum(status["count"] for status in method["status"].values())
        # Calls that have ended are handed to us nevertheless: they wait until then.
        return CallCounts(started, min(ended, self._backlog.left))

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:  # the grace period has passed
            for cancel in list(self._calls.values()):
                cancel()
        if self._front is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._front.close)

    def _receive(self, front: NativeGrpcFront, loop: asyncio.AbstractEventLoop) -> None:
        """
        Wait for a burst and hand it to the event loop. Runs in a thread of its own.

        The event loop itself takes the bursts that follow, until there are none.
        """
        while (events := front.recv_batch_details(BURST)) is not None:
            loop.call_soon_threadsafe(self._take, front, events, loop.time())
            self._all_taken.acquire()

    def _take_next(self, front: NativeGrpcFront) -> None:
        """Take the next burst; if none arrives, let the thread wait for one."""
        # A client that waits for each answer sends its next request at once. If no call is in
        # flight, the event loop has nothing else to do: waiting here avoids a change of threads.
        events = front.recv_batch_details(BURST, 0 if self._lifecycle.in_flight else FOLLOWS_MS)
        if events:
            self._take(front, events, asyncio.get_running_loop().time())
        else:
            self._all_taken.release()

    def _take(self, front: NativeGrpcFront, events: Sequence[_Event], received_at: float) -> None:
        """Begin the calls of one burst, and cancel those whose clients have disconnected."""
        # While the event loop stood still, all of them have waited.
        self._backlog.refresh(self.counts)
        loop, refused = asyncio.get_running_loop(), 0
        started = loop.time()
        for event in events:
            # The client has disconnected.
            if event[0] == EVENT_CANCEL:
                if cancel := self._calls.get(event[1]):
                    cancel()
                continue
            self._backlog.reach()
            self._backlog.entered += 1
            try:
                refused += self._take_one(front, event, received_at)
            except Exception:  # the other calls must go on
                logger.exception("internal error")
                front.fail(event[1], _INTERNAL, "internal error")
                self._ended(event[1])
        if self._calls:
            self._idle.clear()
        # Most were refused: spend the time on the admitted calls.
        if pause_s := _pause_s(refused, len(events), loop.time() - started):
            loop.call_later(pause_s, self._take_next, front)
        else:  # scheduled after the inline runs of this burst
            loop.call_soon(self._take_next, front)

    def _take_one(self, front: NativeGrpcFront, event: _Event, received_at: float) -> bool:
        """Begin a call; return whether it was refused at once."""
        _, call_id, method, message, _, details = event
        assert message is not None
        assert details is not None
        metadata, _, remaining_s = details
        handler = self._handlers[method]
        # The handler refuses a message that is too large.
        fits = len(message) <= self._limits.max_message_bytes
        is_infer = fits and handler is self._infer_handler
        match = self._infer.read(message) if is_infer else None
        deadline = math.inf if remaining_s is None else received_at + remaining_s
        origin = Origin.from_headers(metadata)
        call = handler.open(origin, deadline, received_at)
        # The deadline has passed, and the transport itself has answered the client: only count.
        if deadline <= time.monotonic():
            error = RequestExpiredError("the deadline passed before the call was read")
            self._finish_unread(handler, message, call, error)
            self._ended(call_id)
            return False
        # The request matches a template: answer it without a task.
        if match:
            return self._start_fast(front, call_id, call, match, len(message))
        # Any other request.
        self._start_task(front, call_id, handler, message, call)
        return False

    def _start_fast(
        self, front: NativeGrpcFront, call_id: int, call: Call, match: Match, size: int
    ) -> bool:
        """Start a call on the fast path; return whether it was refused at once."""
        reply = partial(self._reply, front, call_id, call.origin)
        if not self._infer.start(call, match, size, reply):
            return True
        self._calls[call_id] = partial(self._cancel, call_id, call, match)
        return False

    def _start_task(
        self,
        front: NativeGrpcFront,
        call_id: int,
        handler: UnaryHandler,
        message: bytes,
        call: Call,
    ) -> None:
        """Start a task that answers a call."""
        answering = self._answer(front, call_id, handler, message, call)
        task = asyncio.get_running_loop().create_task(answering)

        # Not in the coroutine itself, which never begins if it is cancelled before its turn.
        def ended(_: object) -> None:
            if not call.done:
                self._finish_unread(handler, message, call, asyncio.CancelledError())
            self._ended(call_id)

        self._calls[call_id] = task.cancel
        task.add_done_callback(ended)

    def _finish_unread(
        self, handler: UnaryHandler, message: bytes, call: Call, error: BaseException
    ) -> None:
        """Count a call that ended before its handler began."""
        # A message that is too large is not parsed, not even for the model's name.
        if len(message) <= self._limits.max_message_bytes:
            call.model = self._models.label(handler.model_name(message))
        call.finish(error)

    def _cancel(self, call_id: int, call: Call, match: Match) -> None:
        self._infer.cancel(call, match)
        self._ended(call_id)

    def _ended(self, call_id: int) -> None:
        self._backlog.left += 1
        self._calls.pop(call_id, None)  # a call that fails at once was never added
        if not self._calls:
            self._idle.set()

    def _reply(
        self,
        front: NativeGrpcFront,
        call_id: int,
        origin: Origin,
        response: bytes,
        error: ServiceError | None,
    ) -> None:
        """Answer a client of the fast path."""
        if error is None:
            front.respond(call_id, response, trailing_metadata=origin.headers)
        else:
            _fail(front, call_id, origin, error)
        self._ended(call_id)

    async def _answer(
        self,
        front: NativeGrpcFront,
        call_id: int,
        handler: UnaryHandler,
        message: bytes,
        call: Call,
    ) -> None:
        try:
            response = await handler.answer(message, call)
            payload = handler.serialize(response)
            front.respond(call_id, payload, trailing_metadata=call.origin.headers)
            # After the response, so that its client need not wait for the template.
            if handler is self._infer_handler:
                self._infer.learn(message, response)
        except ServiceError as error:
            _fail(front, call_id, call.origin, error)
        except Exception:  # of encoding or learning; errors of the call are ServiceErrors
            logger.exception("internal error")
            front.fail(call_id, _INTERNAL, "internal error")


def _fail(front: NativeGrpcFront, call_id: int, origin: Origin, error: ServiceError) -> None:
    """Answer a client with an error."""
    code: int = grpc.StatusCode[error.status].value[0]
    # The transport does not send pushback; `RetryInfo` in the status states the same time.
    metadata = [pair for pair in error_metadata(error, origin) if pair[0] != PUSHBACK]
    front.fail(call_id, code, error_text(error), metadata)


def _pause_s(refused: int, taken: int, seconds: float) -> float:
    """Return the seconds to pause after *refused* of *taken* calls were refused in *seconds*."""
    # The burst is to take REFUSING_SHARE of the time until the next one.
    return seconds * (1 / REFUSING_SHARE - 1) if 2 * refused > taken else 0.0
