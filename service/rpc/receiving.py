"""The calls whose message has not arrived whole, and the end of those that take too long.

Once a message is read, gRPC makes room for all of it and waits for the rest without a deadline. A
client that begins many calls and finishes none would hold a message's size of memory with each.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, Self

import grpc

from convoy.service.errors import RequestTooSlowError
from convoy.service.rpc.unary import Context
from convoy.service.security.access import NEEDED

TICK_S = 0.5
"""Time between two looks at the calls, in seconds."""

SLOW_S = 3.0
"""Time after which a call counts as slow, in seconds."""

SLOW_OPEN_S = 1.0
"""The same for methods that need no right, such as health's: their messages are small."""

MAX_SLOW_OPEN = 4
"""Maximum number of slow calls of these methods: strangers hold as many messages, of any size."""

_ENDED = -1


class Receiving:
    """
    Reads messages, and ends the calls of clients that do not finish theirs.

    It counts looks, not seconds: while the process stands still, messages arrive that nothing
    reads, and the first look after that must not take their calls for slow ones.

    Args:
        timeout_s: Longest time for a message to arrive, in seconds.
        slow_s: Time after which a call counts as slow, in seconds.
        max_slow: Maximum number of slow calls; beyond that, those that began first are ended.
    """

    def __init__(self, *, timeout_s: float, slow_s: float, max_slow: int) -> None:
        self._slow_ticks = max(2, round(slow_s / TICK_S))
        self._timeout_ticks = max(self._slow_ticks, round(timeout_s / TICK_S))
        self._max_slow = max_slow
        self._ticks = 0
        self._began: dict[asyncio.Task[Any], int] = {}  # the tick, in the order of the calls

    async def read(self, context: Context) -> bytes | None:
        """
        Return the next message of a call.

        None means that there is no more: the client has closed its side, or gRPC has refused a
        message that is too large.

        Raises:
            RequestTooSlowError: If the message did not arrive in time.
        """
        task = asyncio.current_task()
        assert task is not None
        self._began[task] = self._ticks
        try:
            message = await context.read()
        except asyncio.CancelledError:
            if self._began[task] != _ENDED:  # the client has disconnected
                raise
            task.uncancel()
            raise RequestTooSlowError("the message did not arrive in time") from None
        finally:
            del self._began[task]
        return None if message is grpc.aio.EOF else message

    async def watch(self) -> None:
        """Look at the calls every TICK_S seconds, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.look()

    def look(self) -> None:
        """End the calls that take too long, and the oldest of too many slow ones."""
        self._ticks += 1
        ages = {task: self._ticks - began for task, began in self._began.items() if began != _ENDED}
        slow = [task for task, age in ages.items() if age >= self._slow_ticks]
        for position, task in enumerate(slow):
            if position < len(slow) - self._max_slow or ages[task] >= self._timeout_ticks:
                self._began[task] = _ENDED
                task.cancel()


class Readers(NamedTuple):
    """
    The readers of messages: those of strangers leave room for all others.

    Attributes:
        entitled: For methods that need a right, or a token.
        strangers: For methods that need neither.
    """

    entitled: Receiving
    strangers: Receiving

    @classmethod
    def make(cls, *, timeout_s: float, max_slow: int) -> Self:
        """Make both; see `Receiving`."""
        return cls(
            Receiving(timeout_s=timeout_s, slow_s=SLOW_S, max_slow=max_slow),
            Receiving(
                timeout_s=timeout_s, slow_s=SLOW_OPEN_S, max_slow=min(max_slow, MAX_SLOW_OPEN)
            ),
        )

    def of(self, method: str) -> Receiving:
        """Return the reader for the calls of a method."""
        return self.strangers if NEEDED.get(method) == "none" else self.entitled
