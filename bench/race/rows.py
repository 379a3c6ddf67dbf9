"""What is raced: who against whom, with which network, under which load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.race.h2load import Load, Measured
from bench.race.others import BentoML, KServe, LitServe, MLServer, RayServe, Triton
from bench.race.servers import Convoy, ConvoyNative, Server, Unmetered, UnmeteredNative

SMALL = Load(connections=4, streams=16)
LARGE = Load(connections=4, streams=4)
ONE = Load(connections=1, streams=1)


def per_s(measured: Measured) -> float:
    """Requests per second."""
    return measured.per_s


def p50_ms(measured: Measured) -> float:
    """Median latency."""
    return measured.p50_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One race of two servers.

    Attributes:
        figure: Which of the figures of both the ratio is of, the first by the second.
        bound: What the ratio is to reach.
        at_most: Whether the bound is one from above.
    """

    network: str
    first: type[Server]
    second: type[Server]
    load: Load
    figure: Callable[[Measured], float]
    bound: float
    at_most: bool = False

    @property
    def name(self) -> str:
        """As the command line and the results have it."""
        figure = "" if self.figure is per_s else f"-{self.load.in_flight}"
        sides = (side.__name__.lower() for side in (self.first, self.second))
        return "-".join([self.network, *sides]) + figure


ROWS = (
    Row(
        network="lenet5",
        first=ConvoyNative,
        second=Triton,
        load=SMALL,
        figure=per_s,
        bound=2.5,
    ),
    Row(network="lenet5", first=Convoy, second=Triton, load=SMALL, figure=per_s, bound=0.6),
    *(
        Row(network="lenet5", first=ConvoyNative, second=peer, load=SMALL, figure=per_s, bound=8)
        for peer in (KServe, MLServer, LitServe, BentoML, RayServe)
    ),
    Row(
        network="lenet5",
        first=ConvoyNative,
        second=Triton,
        load=ONE,
        figure=p50_ms,
        bound=0.7,
        at_most=True,
    ),
    *(
        Row(network="lenet5", first=first, second=second, load=SMALL, figure=per_s, bound=0.98)
        for first, second in ((Convoy, Unmetered), (ConvoyNative, UnmeteredNative))
    ),
    *(
        Row(
            network=network,
            first=ConvoyNative,
            second=Triton,
            load=LARGE,
            figure=per_s,
            bound=1.1,
        )
        for network in ("resnet18", "resnet50", "googlenet_tv")
    ),
)
