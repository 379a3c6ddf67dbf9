"""A race on this machine, of the server against itself."""

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from bench.race.h2load import Load
from bench.race.model import Model
from bench.race.pairs import race, ratio, running
from bench.race.rows import per_s
from bench.race.servers import Convoy


@pytest.mark.skipif(not shutil.which("h2load"), reason="h2load is not installed")
def test_race(lenet_repository: Path, tmp_path: Path) -> None:
    """
    Two servers are started, found to answer as ONNX Runtime does, asked in turn, and ended.
    """
    model = Model.read(lenet_repository, "lenet5", threads=1)
    console = Console(quiet=True)
    with (
        running(Convoy, model, tmp_path, console) as first,
        running(Convoy, model, tmp_path, console) as second,
    ):
        sides = race([first, second], Load(2, 4), pairs=2, seconds=0.3, console=console)
    assert all(one.per_s > 0 for side in sides for one in side.measured)
    assert all(side.memory_mb > 10 and min(side.cpu_ms) > 0 for side in sides)
    assert ratio(sides, per_s)[0] > 0
    assert first.process._process.poll() is not None
