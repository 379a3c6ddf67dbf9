"""Races on this machine: the server against itself, and each contender alone."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench.race.contender import Contender
from bench.race.convoy_servers import Convoy, ConvoyIsolated, ConvoyTen, ConvoyTls, UnmeteredNative
from bench.race.h2load import Request
from bench.race.loads import Arrivals, Load, Measured, Poisson
from bench.race.onnxruntime_loop import Alone, Bare
from bench.race.pairs import BAD_PAIRS, race, ratio, running
from bench.race.race_rows import per_s
from bench.race.raced_model import Model, framed
from convoy.pb.inference import grpc_service_pb2 as pb

pytestmark = pytest.mark.skipif(not shutil.which("h2load"), reason="h2load is not installed")

LOAD = Load(2, 4)
QUIET = Console(quiet=True)


@pytest.fixture
def model(lenet_repository: Path) -> Model:
    return Model.read(lenet_repository, "lenet5", threads=1)


def test_race(model: Model, tmp_path: Path) -> None:
    """
    Two servers are started, found to answer as ONNX Runtime does, asked in turn, and ended.
    """
    with (
        running(Convoy, model, tmp_path, QUIET) as first,
        running(Convoy, model, tmp_path, QUIET) as second,
    ):
        sides = race([first, second], LOAD, pairs=2, seconds=0.3, console=QUIET)
    assert all(one.per_s > 0 for side in sides for one in side.measured)
    assert all(side.memory_mb > 10 and min(side.cpu_ms) > 0 for side in sides)
    assert ratio(sides, per_s)[0] > 0
    assert isinstance(first, Convoy)
    assert first.process._process.poll() is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [ConvoyIsolated, ConvoyTen, ConvoyTls, UnmeteredNative, Alone, Bare]
)
def test_contenders(kind: type[Contender], model: Model, tmp_path: Path) -> None:
    """
    Each contender answers as ONNX Runtime does and can be measured.
    """
    with running(kind, model, tmp_path, QUIET) as contender:
        measured = contender.measure(LOAD, 2.0)  # its processes for decoding may still be starting
        assert contender.memory_bytes() > 10e6
        assert contender.cpu_s() > 0
    assert measured.per_s > 10
    assert 0 < measured.p50_ms <= measured.p99_ms


def test_arrivals(model: Model, tmp_path: Path) -> None:
    """
    In an open loop as many requests are answered as are to come, no matter how many could be.
    """
    with running(Convoy, model, tmp_path, QUIET) as server:
        measured = server.measure(Arrivals(per_s=50), 1.0)
    assert 25 < measured.per_s < 80
    assert Poisson(0.7).settled(lambda: 100.0) == Arrivals(70.0)


class Refusing(Convoy):
    """A server that refuses all that it is asked, once it has answered."""

    def request(self) -> Request:
        """Return a request for a model that it does not have."""
        nothing = pb.ModelInferRequest(model_name="nothing").SerializeToString()
        return replace(super().request(), body=framed(nothing))


def test_refused_calls_are_no_figure(model: Model, tmp_path: Path) -> None:
    """
    Calls that fail, which h2load takes for answered, make the measurement an error.
    """
    with (
        running(Refusing, model, tmp_path, QUIET) as server,
        pytest.raises(RuntimeError, match=r"(\d+) of \1 calls failed"),
    ):
        server.measure(LOAD, 0.3)


class Moody(Convoy):
    """A server that some turns fail of."""

    fails = 0

    def measure(self, load: Load | Arrivals, seconds: float) -> Measured:
        """Fail, or do as the others do."""
        if self.fails:
            self.fails -= 1
            raise RuntimeError("not now")
        return super().measure(load, seconds)


@pytest.mark.slow
def test_bad_turns(model: Model, tmp_path: Path) -> None:
    """
    A pair of which one turn fails is left out on both sides; too many of them end the race.
    """
    with (
        running(Moody, model, tmp_path, QUIET) as first,
        running(Convoy, model, tmp_path, QUIET) as second,
    ):
        assert isinstance(first, Moody)
        first.fails = 1
        sides = race([first, second], LOAD, pairs=2, seconds=0.2, console=QUIET)
        assert [len(side.measured) for side in sides] == [1, 1]
        first.fails = BAD_PAIRS + 1
        with pytest.raises(RuntimeError, match="not now"):
            race([first, second], LOAD, pairs=9, seconds=0.2, console=QUIET)
