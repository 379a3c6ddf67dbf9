"""The life of the server: loading, serving, leaving, refusing; and the calls in flight.

SIGTERM moves it from serving to leaving: it says that it is not ready, so that balancers look
elsewhere, and answers as before. Then it refuses new inference calls and finishes those it has.
"""

from __future__ import annotations

import asyncio
import enum

from service.errors import ShuttingDownError


class Phase(enum.Enum):
    """Where the server is in its life; only ever moves down this list."""

    LOADING = "loading"
    SERVING = "serving"
    LEAVING = "leaving"
    REFUSING = "refusing"


class Lifecycle:
    """Phase and calls in flight; owned by the event loop."""

    def __init__(self) -> None:
        self.phase = Phase.LOADING
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def ready(self) -> bool:
        """Whether balancers should send requests here."""
        return self.phase is Phase.SERVING

    def enter(self, *, may_refuse: bool) -> None:
        """
        Count one more call as in flight, until `leave`.

        Raises:
            ShuttingDownError: If *may_refuse*, and the server takes no more calls.
        """
        if may_refuse and self.phase is Phase.REFUSING:
            raise ShuttingDownError("the server is shutting down")
        self.in_flight += 1
        self._idle.clear()

    def leave(self) -> None:
        """Count one call less."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is in flight."""
        await self._idle.wait()
