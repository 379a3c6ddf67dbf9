"""The log of the server that is attacked."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence

from tests.harness.server_process import ServerProcess
from tests.security.target import TIMEOUT_S, Target


class Log:
    """The lines that a server writes during one test."""

    def __init__(self, target: Target, own: ServerProcess) -> None:
        self._target = target
        self._own = own
        self._start = len(own.log)

    async def lines(self) -> Sequence[dict[str, object]]:
        """Return the lines, once that of a last request shows that all earlier ones are read."""
        mark = uuid.uuid4().hex
        await self._target.ask("GET", "/v2/models/none", headers={"x-request-id": mark})
        end = time.monotonic() + TIMEOUT_S
        while not any(line.get("request_id") == mark for line in self._own.log[self._start :]):
            assert time.monotonic() < end, "the log does not show the last request"
            await asyncio.sleep(0.01)
        return self._own.log[self._start :]

    async def holding(self, secret: str) -> Sequence[str]:
        """Return the lines that quote 24 characters of *secret* or more."""
        parts = [secret[start : start + 12] for start in range(4, len(secret) - 12, 6)]
        lines = [str(line) for line in await self.lines()]
        return [line for line in lines if any(part in line for part in parts)]
