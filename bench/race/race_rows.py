"""The pairs of contenders that are raced, each with its network and its load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.race.contender import Contender
from bench.race.convoy_servers import (
    Convoy,
    ConvoyBf16,
    ConvoyInt8,
    ConvoyInt8OpenVino,
    ConvoyIsolated,
    ConvoyJpeg,
    ConvoyNative,
    ConvoyTen,
    ConvoyTls,
    NativeLoop,
    Unmetered,
    UnmeteredNative,
)
from bench.race.loads import AnyLoad, Load, Measured, Poisson
from bench.race.onnxruntime_loop import Alone, Bare
from bench.race.peer_servers import (
    BentoML,
    KServe,
    LitServe,
    MLServer,
    RayServe,
    Triton,
    TritonOneThread,
)

SMALL = Load(connections=4, streams=16)
LARGE = Load(connections=4, streams=4)
ONE = Load(connections=1, streams=1)

LARGE_NETWORKS = ("resnet18", "resnet50", "googlenet_tv")


def per_s(measured: Measured) -> float:
    """Requests per second."""
    return measured.per_s


def p50_ms(measured: Measured) -> float:
    """Median latency."""
    return measured.p50_ms


def p99_ms(measured: Measured) -> float:
    """Latency that 99 of 100 requests stay below."""
    return measured.p99_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One race of two contenders.

    Attributes:
        figure: The figure of both whose ratio is taken, the first by the second.
        bound: The ratio to reach, or None if it is only reported.
        at_most: True if the ratio must not exceed the bound.
        pairs: Measurements of both; more where a few per cent decide.
        seconds: Duration of each measurement.
    """

    network: str = "lenet5"
    first: type[Contender]
    second: type[Contender]
    load: AnyLoad = SMALL
    figure: Callable[[Measured], float] = per_s
    bound: float | None = None
    at_most: bool = False
    pairs: int = 20
    seconds: float = 1.5

    @property
    def name(self) -> str:
        """The name on the command line and in the results."""
        figure = "" if self.figure is per_s else f"-{self.figure.__name__.removesuffix('_ms')}"
        sides = (side.__name__.lower() for side in (self.first, self.second))
        return "-".join([self.network, *sides]) + figure


ROWS = (
    Row(first=ConvoyNative, second=Triton, bound=2.5),
    Row(first=ConvoyNative, second=TritonOneThread, bound=2.5),
    Row(first=ConvoyNative, second=NativeLoop),
    Row(first=NativeLoop, second=Triton),
    Row(first=Convoy, second=Triton, bound=0.6),
    *(
        Row(first=ConvoyNative, second=peer, bound=8)
        for peer in (KServe, MLServer, LitServe, BentoML, RayServe)
    ),
    Row(first=ConvoyNative, second=Triton, load=ONE, figure=p50_ms, bound=0.7, at_most=True),
    Row(first=ConvoyTls, second=Convoy, bound=0.8),
    Row(first=ConvoyTen, second=ConvoyNative, bound=0.97, pairs=40),
    Row(first=Convoy, second=Unmetered, bound=0.98, pairs=40),
    Row(first=ConvoyNative, second=UnmeteredNative, bound=0.98, pairs=40),
    *(
        Row(
            network=network,
            first=ConvoyNative,
            second=second,
            load=LARGE,
            bound=bound,
            pairs=pairs,
            seconds=2.0,
        )
        for second, bound, pairs in ((Alone, 0.96, 40), (Triton, 1.1, 20))
        for network in LARGE_NETWORKS
    ),
    *(
        Row(network=network, first=ConvoyBf16, second=second, load=LARGE, bound=1.7, seconds=4.0)
        for second in (ConvoyNative, Triton)
        for network in ("resnet50", "googlenet_tv")
    ),
    *(
        Row(network=network, first=ConvoyInt8, second=Triton, load=LARGE, bound=3.0, seconds=2.0)
        for network in LARGE_NETWORKS
    ),
    *(
        Row(network=network, first=ConvoyInt8OpenVino, second=ConvoyInt8, load=LARGE, seconds=2.0)
        for network in LARGE_NETWORKS
    ),
    *(
        Row(
            network=f"{network}_int8",
            first=ConvoyNative,
            second=Alone,
            load=LARGE,
            bound=bound,
            seconds=2.0,
        )
        for network, bound in (("resnet18", 0.85), ("resnet50", 0.93), ("googlenet_tv", 0.85))
    ),
    *(
        Row(
            network=network,
            first=ConvoyInt8,
            second=Triton,
            load=Poisson(0.7),
            figure=p99_ms,
            bound=0.4,
            at_most=True,
            seconds=6.0,
        )
        for network in LARGE_NETWORKS
    ),
    Row(
        network="resnet50",
        first=ConvoyNative,
        second=Bare,
        load=ONE,
        figure=p50_ms,
        bound=1.03,
        at_most=True,
        seconds=2.0,
    ),
    *(
        Row(
            network=network,
            first=ConvoyJpeg,
            second=ConvoyNative,
            load=LARGE,
            bound=bound,
            seconds=2.0,
        )
        for network, bound in (("resnet18", 0.9), ("resnet18_int8", None), ("resnet50_int8", None))
    ),
    *(
        Row(
            network=network,
            first=ConvoyIsolated,
            second=ConvoyJpeg,
            load=LARGE,
            seconds=2.0,
        )
        for network in ("lenet5", "resnet18")
    ),
    Row(
        network="resnet18",
        first=ConvoyNative,
        second=Triton,
        load=Poisson(0.7),
        figure=p99_ms,
        bound=0.9,
        at_most=True,
        seconds=6.0,
    ),
)
