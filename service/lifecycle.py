"""The phases of the server, from loading to refusing, and the calls in flight.

SIGTERM moves the server from serving to leaving: it reports that it is not ready, so that balancers
choose other servers, and answers as before. Then it refuses new inference calls and finishes those
in flight.
"""

from __future__ import annotations

import asyncio
import enum

from convoy.service.errors import RequestTooLargeError, ServerBusyError, ShuttingDownError


class Phase(enum.Enum):
    """The phase of the server's life; it only moves down this list."""

    LOADING = "loading"
    SERVING = "serving"
    LEAVING = "leaving"
    REFUSING = "refusing"


BUSY_RETRY_S = 0.1
"""Seconds after which a client refused for too many calls may retry: a few batches later."""


class Lifecycle:
    """
    Phase, and calls in flight; owned by the event loop.

    Args:
        max_calls: Maximum number of calls in flight that do work.
        max_bytes: Maximum size in bytes of their requests together.

    Attributes:
        in_flight: Number of calls.
        bytes_in_flight: Bytes of their requests.
        waiting: Number of calls that wait in the gRPC transports, as of their last samples.
        lost: Models that fail on every request.
        cut_off: Whether no front process listens, so that no call arrives over gRPC.
    """

    def __init__(self, *, max_calls: int = 4096, max_bytes: int = 2**30) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self.phase = Phase.LOADING
        self.in_flight = 0
        self.bytes_in_flight = 0
        self.waiting = 0
        self.lost: set[object] = set()
        self.cut_off = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def ready(self) -> bool:
        """True if balancers should send requests here."""
        return not self.obstacle

    @property
    def obstacle(self) -> str:
        """The reason why balancers should send requests elsewhere; empty if they should not."""
        if self.phase is not Phase.SERVING:
            return f"the server is {self.phase.value}"
        if self.lost:
            return "a model can no longer run; the server's log names it"
        return "no front process accepts calls" if self.cut_off else ""

    def enter(self, size: int = 0, *, may_refuse: bool) -> None:
        """
        Count one more call, of *size* bytes, as in flight until `leave`.

        Raises:
            ShuttingDownError: If *may_refuse*, and the server shuts down.
            ServerBusyError: If there are too many bytes; or too many calls, and *may_refuse*.
            RequestTooLargeError: As `hold`.
        """
        # Calls that do no work, such as health and statistics, are answered until the end.
        if may_refuse and self.phase is Phase.REFUSING:
            raise ShuttingDownError("the server is shutting down")
        # Not those that wait in the transport: a client could feign any number of them, and keep
        # all others out.
        if may_refuse and self.in_flight >= self._max_calls:
            raise ServerBusyError(
                f"the server is busy: {self.in_flight} calls are in flight", BUSY_RETRY_S
            )
        # The count changes last: a call that is refused is never in flight.
        if size:
            self.hold(size)
        self.in_flight += 1
        self._idle.clear()

    def hold(self, size: int, held: int = 0) -> None:
        """
        Count *size* bytes of a request as in flight until `leave`.

        Args:
            held: Bytes of the same request that are in flight already.

        Raises:
            RequestTooLargeError: If this request alone has more bytes than all may have.
            ServerBusyError: If the requests in flight would have too many bytes.
        """
        # Whenever it is sent again, it does not fit.
        if held + size > self._max_bytes:
            raise RequestTooLargeError(
                f"the request has at least {held + size} bytes; this server accepts at most "
                f"{self._max_bytes} of all requests in flight"
            )
        # Requests are in memory until they are answered: many large ones could exhaust it.
        if self.bytes_in_flight + size > self._max_bytes:
            raise ServerBusyError(
                f"the server is busy: {self.bytes_in_flight} bytes of requests are in flight",
                BUSY_RETRY_S,
            )
        self.bytes_in_flight += size

    def leave(self, size: int = 0) -> None:
        """Count one call, of *size* bytes, as no longer in flight."""
        self.bytes_in_flight -= size
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is in flight."""
        await self._idle.wait()
