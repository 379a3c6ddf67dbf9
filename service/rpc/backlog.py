"""The calls that wait in a gRPC transport for their handlers.

Under load most of a call's time passes before its handler starts, and no gRPC library tells when a
call arrived. The libraries count their calls, though. Whatever they have received, not ended, and
not handed to a handler is the backlog; Little's law gives the time that a call spends in it.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

# The public face of channelz, the package grpcio-channelz, calls these functions for a client's
# sake; it would be two more packages for the same JSON.
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from convoy.service.lifecycle import Lifecycle
from convoy.service.telemetry.metrics import Metrics

INTERVAL_S = 0.05
"""Time between two samples under load, in seconds; a sample takes 0.2 ms over grpcio."""

IDLE_INTERVAL_S = 1.0
"""Time between two samples while no call arrives, in seconds."""


SETTLING_SAMPLES = 20
"""Samples over which calls that ended without a handler, or that do not reach Python, are watched.

Such a call may be on its way. Samples are counted, not seconds, because no call makes progress
while the event loop is blocked or the process is stopped.
"""


class CallCounts(NamedTuple):
    """The calls that a transport has received since its start, and those that have ended."""

    started: int
    ended: int


class _Sample(NamedTuple):
    """The counts at one time, and what followed from them."""

    at: float
    started: int
    entered: int
    waiting: int
    dropped: int
    gone: int


class _Quiet(NamedTuple):
    """
    The samples since a call last reached Python.

    Attributes:
        least_unreached: The lowest number of calls in a sample that had not reached Python.
        reached: The number of calls that had reached Python by then.
    """

    samples: int
    least_unreached: float
    reached: int


class Backlog:
    """
    Compares a transport's counts with the calls in handlers.

    As a context manager, it surrounds the handling of one call; many may be open at once.

    Args:
        lifecycle: Told how many calls wait.
        metrics: Receives the calls that started and those that were dropped, and the wait.

    Attributes:
        reached: Calls that the transport has handed to Python.
        entered: Calls whose handler has started.
        left: Calls whose handler has ended.
    """

    def __init__(self, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._lifecycle = lifecycle
        self._metrics = metrics
        self.reached = 0
        self.entered = 0
        self.left = 0
        self._is_reached = asyncio.Event()
        self._last = _Sample(time.monotonic(), 0, 0, waiting=0, dropped=0, gone=0)
        self._least_unseen = 0
        self._unsettled = 0
        self._settling_samples = 0
        self._lost = 0
        self._quiet = _Quiet(0, math.inf, reached=0)
        self._waited_s = 0.0  # by all calls together, since one of them last ceased to

    def __enter__(self) -> None:
        self.entered += 1

    def __exit__(self, *_: object) -> None:
        self.left += 1

    def reach(self) -> None:
        """Count a call that the transport has handed to Python."""
        self.reached += 1
        self._is_reached.set()

    def count(self) -> None:
        """Count a call that its handler answers at once."""
        self.entered += 1
        self.left += 1

    async def watch(self, read: Callable[[], CallCounts]) -> None:
        """Compare with the counts that *read* returns, again and again until cancelled."""
        while True:
            # Under load, and now and then without, as calls may end before they reach a handler.
            last = self._last
            is_busy = last.waiting or last.entered != self.entered or self._unsettled
            if is_busy or await self._rest():
                await asyncio.sleep(INTERVAL_S)
            self.sample(read(), time.monotonic())

    async def _rest(self) -> bool:
        """Wait for a call, for at most `IDLE_INTERVAL_S`; return whether one has come."""
        due = time.monotonic() + IDLE_INTERVAL_S
        self._is_reached.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_INTERVAL_S):
                await self._is_reached.wait()
        # If the event loop was blocked, calls may have been waiting since the timeout.
        self._last = self._last._replace(at=min(time.monotonic(), due))
        return self._is_reached.is_set()

    def refresh(self, read: Callable[[], CallCounts]) -> None:
        """Take a sample, unless the last one is recent; for a transport that takes many at once."""
        now = time.monotonic()
        if now >= self._last.at + INTERVAL_S:
            self.sample(read(), now)

    def sample(self, counts: CallCounts, now: float) -> None:
        """Measure, from the transport's *counts* at *now*, what happened since the last sample."""
        last = self._last
        self._find_lost(counts)
        # The end of a lost call is never counted.
        counts = CallCounts(counts.started, counts.ended + self._lost)
        dropped = self._settle(counts.ended - self.entered)
        # Those that wait no more: they have entered a handler, or have ended without one.
        gone = max(counts.ended, self.entered + dropped)
        # Two bounds. The first one includes answers that clients have not read yet, and the second
        # one calls that were dropped and are not settled. Transports count while they are read, so
        # that either may be off by a few.
        open_elsewhere = counts.started - counts.ended - (self.entered - self.left)
        waiting = max(0, min(open_elsewhere, counts.started - gone))
        self._last = _Sample(now, counts.started, self.entered, waiting, dropped, gone)
        self._lifecycle.waiting += waiting - last.waiting
        self._metrics.transport_calls.counts[()] += counts.started - last.started
        self._metrics.transport_dropped.counts[()] += dropped - last.dropped
        self._measure_wait(last, self._last)

    def _find_lost(self, counts: CallCounts) -> None:
        """
        Find the calls that will never reach Python.

        gRPC ends a call that is malformed, or whose connection is closed before its turn, without
        counting its end. All others reach Python as soon as it accepts them, so calls that do not,
        although the event loop runs and no others arrive, are lost.
        """
        unreached = counts.started - self.reached
        if self._quiet.reached != self.reached:
            self._quiet = _Quiet(0, math.inf, self.reached)
        samples, least = self._quiet.samples + 1, min(self._quiet.least_unreached, unreached)
        self._quiet = _Quiet(samples, least, self.reached)
        if samples >= SETTLING_SAMPLES:
            self._lost = max(self._lost, int(least))
        # On a machine without a free core, such a call may still arrive, or its end be counted.
        self._lost = max(0, min(self._lost, unreached, counts.started - counts.ended))

    def _settle(self, unseen: int) -> int:
        """
        Return the calls that no handler has seen, nor will.

        Args:
            unseen: Calls that have ended in the transport, less all that entered handlers. A call
                in its handler may have ended in the transport already, so this is never too many
                but for calls on their way to their handlers.
        """
        self._least_unseen = min(self._least_unseen, unseen)
        self._settling_samples += 1
        dropped = self._last.dropped
        if self._settling_samples >= SETTLING_SAMPLES:
            dropped = max(dropped, self._least_unseen)
            self._least_unseen, self._settling_samples = unseen, 0
        self._unsettled = max(0, unseen - dropped)
        return dropped

    def _measure_wait(self, last: _Sample, sample: _Sample) -> None:
        """Divide the time that calls have spent waiting among those that wait no more."""
        self._waited_s += (last.waiting + sample.waiting) / 2 * (sample.at - last.at)
        entered = sample.entered - last.entered
        # Calls that were dropped have taken their part of the time with them.
        if gone := max(entered, sample.gone - last.gone):
            if entered:
                self._metrics.transport_wait.observe(self._waited_s / gone, entered)
            self._waited_s = 0.0


def newest_server_counts() -> Callable[[], CallCounts]:
    """Return a function that reads the counts of the grpcio server that was created last."""
    number = _newest_server()

    def read() -> CallCounts:
        # Protobuf's JSON has 64-bit numbers as text.
        data = json.loads(cygrpc.channelz_get_server(number))["server"]["data"]
        return CallCounts(
            int(data["callsStarted"]), int(data["callsSucceeded"]) + int(data["callsFailed"])
        )

    return read


def _newest_server() -> int:
    """Return channelz's number of the server that was created last; numbers ascend."""
    number = 0
    while True:
        page = json.loads(cygrpc.channelz_get_servers(number + 1))
        if page.get("server"):
            number = int(page["server"][-1]["ref"]["serverId"])
        if page.get("end"):
            return number
