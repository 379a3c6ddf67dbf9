"""Loads for a contender, and the figures of its answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Measured:
    """
    The figures of one load.

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
    A closed loop: a constant number of requests in flight.

    Attributes:
        connections: Connections.
        streams: Requests in flight on each; over HTTP/1.1 connections are multiplied by it.
    """

    connections: int
    streams: int

    @property
    def in_flight(self) -> int:
        """The requests in flight on all connections together."""
        return self.connections * self.streams

    @property
    def name(self) -> str:
        """The name in a table."""
        return str(self.in_flight)

    def settled(self, capacity: Callable[[], float]) -> Load:
        """Return this load, which does not depend on the contenders' capacity."""
        return self


@dataclass(frozen=True, slots=True)
class Arrivals:
    """An open loop: *per_s* requests per second, with Poisson arrivals."""

    per_s: float


@dataclass(frozen=True, slots=True)
class Poisson:
    """
    An open loop at a share of the slower contender's capacity.

    Attributes:
        share: In `(0, 1]`.
    """

    share: float

    @property
    def name(self) -> str:
        """The name in a table."""
        return f"Poisson, {self.share:.0%}"

    def settled(self, capacity: Callable[[], float]) -> Arrivals:
        """Return the arrivals, given a measurement of the slower one's requests per second."""
        return Arrivals(math.floor(10 * self.share * capacity()) / 10)


class AnyLoad(Protocol):
    """A load of a row, which may depend on the contenders' capacity."""

    @property
    def name(self) -> str:
        """The name in a table."""

    def settled(self, capacity: Callable[[], float]) -> Load | Arrivals:
        """Return the load that each of them gets."""


def warm_up_s(seconds: float) -> float:
    """Return the seconds of unmeasured load before a measurement of *seconds*."""
    return seconds / 4
