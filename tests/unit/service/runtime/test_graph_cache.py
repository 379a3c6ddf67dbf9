"""Graphs kept as ONNX Runtime optimised them: found again, proven again, never in the way."""

import os
import resource
from pathlib import Path

import numpy as np
import onnx
import pytest

from convoy.artifact.files import Artifact
from convoy.artifact.repository import ModelRepository
from convoy.service.runtime.device import Device
from convoy.service.runtime.graph_cache import GraphCache
from convoy.service.runtime.session import Session
from tests.harness import tiny

ON_CPU = Device(policy="cpu", cores=1)
GIB = 1 << 30


def artifact(root: Path, name: str = "tiny", pad: int = 0) -> Artifact:
    made = tiny.write(root, name, model=tiny.large_graph(pad))
    return ModelRepository(root).read(name, made.version)


def test_second_session_opens_the_kept_graph(tmp_path: Path) -> None:
    """
    The graph is kept once it is proven, and the next session opens that file.
    """
    made, folder = artifact(tmp_path / "models"), tmp_path / "cache"
    cache = GraphCache(folder, GIB)
    assert cache.find(made) is None
    first = Session(made, ON_CPU, cache)
    kept = cache.find(made)
    assert kept is not None
    assert [path.name for path in folder.iterdir()] == [kept.name]
    (made.model_path).unlink()  # so that only the kept one can be opened
    second = Session(made, ON_CPU, cache)
    batch = tiny.pixels(3)
    assert np.array_equal(first.run(batch)["logits"], second.run(batch)["logits"])


@pytest.mark.parametrize("content", [b"", b"no graph"])
def test_unreadable_graph_is_replaced(tmp_path: Path, content: bytes) -> None:
    """
    A kept graph that cannot be opened is dropped, and the artifact's own is opened.
    """
    made, cache = artifact(tmp_path / "models"), GraphCache(tmp_path / "cache", GIB)
    Session(made, ON_CPU, cache)
    kept = cache.find(made)
    assert kept is not None
    kept.write_bytes(content)
    Session(made, ON_CPU, cache)
    assert kept.stat().st_size > 1000


def test_wrong_graph_is_replaced(tmp_path: Path) -> None:
    """
    A kept graph must give the golden answers as any other.
    """
    made, cache = artifact(tmp_path / "models"), GraphCache(tmp_path / "cache", GIB)
    Session(made, ON_CPU, cache)
    kept = cache.find(made)
    assert kept is not None
    onnx.save(tiny.graph(nothing=1.0), kept)
    assert Session(made, ON_CPU, cache).run(tiny.pixels(3))["logits"].argmax() == 3


def test_small_models_are_not_kept(tmp_path: Path) -> None:
    """
    A model that opens in milliseconds is not kept.
    """
    tiny.write(tmp_path / "models")
    cache = GraphCache(tmp_path / "cache", GIB)
    Session(ModelRepository(tmp_path / "models").read("tiny", 1), ON_CPU, cache)
    assert not (tmp_path / "cache").exists()


def test_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    Without a folder the session still opens, and the log names what is missing.
    """
    (tmp_path / "file").touch()
    Session(artifact(tmp_path / "models"), ON_CPU, GraphCache(tmp_path / "file" / "cache", GIB))
    assert "cannot cache optimised graphs" in caplog.text


def test_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    A graph that cannot be written is still opened, and no part of it is kept.
    """
    made = artifact(tmp_path / "models")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        session = Session(made, ON_CPU, GraphCache(tmp_path / "cache", GIB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert session.run(tiny.pixels(3))["logits"].argmax() == 3
    assert list((tmp_path / "cache").iterdir()) == []
    assert "opening the model without caching its optimised graph" in caplog.text


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    """
    Beyond its size the folder loses what was not used for longest.
    """
    folder = tmp_path / "cache"
    first = artifact(tmp_path / "models", "first")
    second = artifact(tmp_path / "models", "second", pad=1)
    third = artifact(tmp_path / "models", "third", pad=2)
    cache = GraphCache(folder, GIB)
    Session(first, ON_CPU, cache)
    size = sum(path.stat().st_size for path in folder.iterdir())
    cache = GraphCache(folder, int(2.5 * size))
    Session(second, ON_CPU, cache)
    for path in folder.iterdir():
        os.utime(path, (0, 0))  # long ago: a file system's clock may tick once in 10 ms
    assert cache.find(first) is not None  # used again
    Session(third, ON_CPU, cache)
    assert cache.find(second) is None
    assert cache.find(first) is not None


def test_another_processor(tmp_path: Path) -> None:
    """
    A graph that was optimised for another machine is not found here.
    """
    made, cache = artifact(tmp_path / "models"), GraphCache(tmp_path / "cache", GIB)
    Session(made, ON_CPU, cache)
    assert cache.find(made) is not None
    (tmp_path / "cpuinfo").write_text("model name : Another\nflags : none\n")
    other = GraphCache(tmp_path / "cache", GIB, cpu_info=tmp_path / "cpuinfo")
    assert other.find(made) is None
