"""What is put on a contender, and what is seen of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Measured:
    """
    What came of a load.

    Attributes:
        per_s: Requests answered per second.
        p50_ms: Median latency.
        p99_ms: Latency that 99 of 100 requests stay below.
    """

    per_s: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Load:
    """
    A closed loop: so many requests on their way all the time.

    Attributes:
        connections: Connections.
        streams: Requests in flight on each; over HTTP/1.1 so many times the connections.
    """

    connections: int
    streams: int

    @property
    def in_flight(self) -> int:
        """Requests in flight on all connections together."""
        return self.connections * self.streams

    @property
    def name(self) -> str:
        """As a table shows it."""
        return str(self.in_flight)

    def settled(self, capacity: Callable[[], float]) -> Load:
        """This load, whatever the contenders can do."""
        return self


@dataclass(frozen=True, slots=True)
class Arrivals:
    """An open loop: *per_s* requests per second, as independent strangers come (Poisson)."""

    per_s: float


@dataclass(frozen=True, slots=True)
class Poisson:
    """
    An open loop, at a share of what the slower contender can do.

    Attributes:
        share: In `(0, 1]`.
    """

    share: float

    @property
    def name(self) -> str:
        """As a table shows it."""
        return f"Poisson, {self.share:.0%}"

    def settled(self, capacity: Callable[[], float]) -> Arrivals:
        """The rate that it is, given the slower one's requests per second."""
        return Arrivals(math.floor(10 * self.share * capacity()) / 10)


class AnyLoad(Protocol):
    """A load of a row, which may depend on what the contenders can do."""

    @property
    def name(self) -> str:
        """As a table shows it."""

    def settled(self, capacity: Callable[[], float]) -> Load | Arrivals:
        """What is put on each of them."""


def warm_up_s(seconds: float) -> float:
    """How long a load is put on, unmeasured, before it is measured for *seconds*."""
    return seconds / 4
