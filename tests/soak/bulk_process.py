"""The process that makes most of the calls, and its account as it reports it."""

from __future__ import annotations

import asyncio
import json
import sys
from types import TracebackType
from typing import Self

from tests.soak.checksums import Checksums
from tests.soak.ledger import Ledger

LONGEST_LINE = 1 << 22
"""The size of an account, in bytes."""


class BulkProcess:
    """
    Use as a context manager: leaving it ends the load, waits for its last calls, and takes its
    last account.

    Attributes:
        ledger: Its account, as of at most a second ago.
    """

    def __init__(self, address: str, *models: Checksums) -> None:
        self.ledger = Ledger()
        self._reported = asyncio.Event()
        self._given = {
            "address": address,
            "models": [[model.name, model.sha256] for model in models],
        }

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.soak.bulk"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            process_group=0,  # Ctrl-C is for the soak, which then ends this
            limit=LONGEST_LINE,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._given).encode() + b"\n")
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._reading
        # Without its last account nothing can be compared.
        if code := await self._process.wait():
            raise RuntimeError(f"the process that makes most of the calls ended with {code}")

    async def report(self) -> None:
        """Wait for its next account."""
        self._reported.clear()
        await self._reported.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.ledger = Ledger.load(line)
            self._reported.set()
