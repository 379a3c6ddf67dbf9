"""The latency that clients measure, compared with the server's own.

The clocks of client and server differ by what neither can see: the kernel, and a process that does
not get a core. So only two bounds hold on a busy machine. The server's time is never more than the
client's, which surrounds it. And in one of a few turns it is at least half of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from convoy.service.rpc.fast_path import INFER_PATH
from tests.soak.flow import ALWAYS, Case
from tests.soak.ledger import Ledger
from tests.soak.server_counts import ServerCounts
from tests.soak.wire import Wire, request_headers

IN_FLIGHT = (1, 16, 64)
TURN_S = 0.4

MOST_TURNS = 10
"""Turns of which one has to be sound, as others may fall into a moment without a free core."""

SAMPLED_S = 0.2
"""Time after which the server has sampled its transport."""

LEAST_SHARE = 0.5
LARGEST_GAP_S = 0.0005
"""The time that a server may leave out: half of the time, or what two processes take to wake up."""


class Turn(NamedTuple):
    """
    The mean latencies of one load, in seconds.

    Attributes:
        wait_s: The time in the transport, as far as the server knows it.
        measured: Calls whose duration the server measured.
    """

    in_flight: int
    calls: int
    client_s: float
    server_s: float
    wait_s: float
    measured: int

    @property
    def gap_s(self) -> float:
        """The client's time that the server does not see, in seconds."""
        return self.client_s - self.server_s - self.wait_s

    @property
    def is_sound(self) -> bool:
        """Return whether the server sees no more than the client, and not much less."""
        # The time in the transport is an estimate, so that the sum may be too large.
        allowed_s = max((1 - LEAST_SHARE) * self.client_s, LARGEST_GAP_S)
        agrees = self.server_s <= self.client_s and abs(self.gap_s) <= allowed_s
        return agrees and self.measured == self.calls

    def __str__(self) -> str:
        means = f"{1000 * self.client_s:.3f} ms for clients, {1000 * self.server_s:.3f} ms"
        return (
            f"{self.in_flight} in flight, mean of {self.calls:,}: {means} for the server and "
            f"{1000 * self.wait_s:.3f} ms in the transport; {self.measured:,} measured"
        )


def measure(
    address: str, ledger: Ledger, cases: Sequence[Case], metrics: Callable[[], str]
) -> list[Turn]:
    """Return a turn of each load; *cases* are of one model, which nobody else asks now."""
    return [_turn(address, ledger, cases, metrics, in_flight) for in_flight in IN_FLIGHT]


def problems(turns: Sequence[Turn]) -> list[str]:
    """Return the turns in which the server saw more than its client, or too little."""
    return [f"latency: {turn}" for turn in turns if not turn.is_sound]


def _turn(
    address: str,
    ledger: Ledger,
    cases: Sequence[Case],
    metrics: Callable[[], str],
    in_flight: int,
) -> Turn:
    model, turns = cases[0].entry.model, list[Turn]()
    while len(turns) < MOST_TURNS and not (turns and turns[-1].is_sound):
        before = ServerCounts.read(metrics())
        calls, total_s = closed_loop(address, ledger, cases, in_flight)
        time.sleep(SAMPLED_S)
        after = ServerCounts.read(metrics())
        server_s = after.duration_s[model] - before.duration_s[model]
        wait_s = after.wait_s - before.wait_s
        measured = after.durations[model] - before.durations[model]
        turns.append(
            Turn(in_flight, calls, total_s / calls, server_s / calls, wait_s / calls, measured)
        )
    return turns[-1]


def closed_loop(
    address: str, ledger: Ledger, cases: Sequence[Case], in_flight: int
) -> tuple[int, float]:
    """Keep so many calls in flight for a turn; return their number and their seconds together."""
    headers, started = request_headers(INFER_PATH, ALWAYS), dict[int, tuple[Case, float]]()
    calls, total_s, ends_at = 0, 0.0, time.monotonic() + TURN_S

    def begin(wire: Wire) -> None:
        case = random.choice(cases)
        ledger.begin(case.entry)
        started[wire.send(headers, case.message)] = case, time.monotonic()

    with Wire(address) as wire:
        for _ in range(in_flight):
            begin(wire)
        while started:
            wire.flush()
            for ended in wire.receive():
                case, began = started.pop(ended.stream)
                calls, total_s = calls + 1, total_s + time.monotonic() - began
                case.end(ledger, ended)
                if time.monotonic() < ends_at:
                    begin(wire)
    return calls, total_s
