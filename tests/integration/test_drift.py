"""Drift: a server tells images like those of the baseline from others."""

from __future__ import annotations

import functools
import io
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bench import drift as bench
from convoy import AsyncClient
from convoy.artifact.baseline import (
    BASELINE_FILE,
    Baseline,
    Counts,
    Histogram,
    histograms,
    read_baseline,
)
from convoy.artifact.repository import ModelRepository
from convoy.commands.group import run
from convoy.export import data
from convoy.export.data.split import DataSet
from convoy.service.call import Model
from convoy.service.serving.monitoring.drift import SLOTS, Drift, Window, _bins, _Watched
from tests.harness.lenet import LENET_REPOSITORY, add_version
from tests.harness.server import Running, Serve

SIGNALS = ("confidence", "entropy", "class", "brightness", "contrast", "sharpness", "size")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 with a baseline on images that it was not trained on."""
    root = tmp_path_factory.mktemp("models")
    add_version(root, "lenet5")
    assert run(["baseline", "lenet5", "--data", "mnist5k", "--model-repository", str(root)]) == 0
    return root


@pytest.fixture
def repository(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "models"))


@functools.cache
def _digits() -> DataSet:
    return data.load("mnist5k")


def _index(running: Running, signal: str, window: str = "1d") -> float | None:
    labels = {"model": "lenet5", "version": "1", "signal": signal, "window": window}
    return running.sample("convoy_drift_psi", **labels)


def _counted(running: Running) -> float:
    bins = [str(digit) for digit in range(10)]
    labels = {"model": "lenet5", "version": "1", "signal": "class"}
    return sum(running.sample("convoy_drift_images_total", bin=b, **labels) or 0 for b in bins)


def _counted_bins(running: Running, signal: str) -> float:
    return sum(
        sample.value
        for family in running.server.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "convoy_drift_images_total" and sample.labels["signal"] == signal
    )


async def _send(running: Running, images: list[bytes]) -> None:
    """Classify images, and wait until they are counted."""
    before = _counted(running)
    async with AsyncClient(running.address) as client:
        for start in range(0, len(images), 32):
            await client.classify_batch(images[start : start + 32], model="lenet5")
    await running.until(lambda: _counted(running) == before + len(images))


async def test_index(serve: Serve, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No index below 500 images; a small one for images like the baseline's, a large one for blurred
    images; each window has its own.
    """
    monkeypatch.setattr("convoy.service.serving.monitoring.signal_counter.MAX_IMAGES_PER_S", 10**9)
    images = _digits()
    plain = [images.validation.image(index) for index in range(500)]
    settings = {"model_repository": repository, "drift": True, "drift_windows_s": [5, 86_400]}
    async with serve(**settings) as running:
        await _send(running, plain[:490])
        assert _index(running, "brightness") is None
        await _send(running, plain[490:])
        for signal in SIGNALS:
            index = _index(running, signal)
            assert index is not None
            assert index < 0.1, signal
        await running.until(lambda: _index(running, "brightness", "5s") is None)
        await _send(running, [_blurred(image) for image in plain])
        blurred = _index(running, "sharpness", "5s")
        assert blurred is not None
        assert blurred > 0.2
        # Half of the images of the longer window are as before.
        assert 0.2 < (_index(running, "sharpness") or 0) < blurred


def _blurred(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.filter(ImageFilter.GaussianBlur(1.5)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.with_fronts
async def test_every_process_counts(serve: Serve, repository: Path) -> None:
    """
    Images are counted in the process that decodes them, and so are those of a reloaded version.
    """
    settings = {"model_repository": repository, "drift": True, "model_control_mode": "explicit"}
    images = [_digits().validation.image(index) for index in range(64)]
    async with serve(**settings, load_model=["lenet5"]) as running:
        await _send(running, images)
        assert _counted_bins(running, "brightness") == _counted_bins(running, "size") == len(images)
        await running.server.control.unload("lenet5")
        await running.server.control.load("lenet5")
        await _send(running, images[:32])


async def test_off_by_default(serve: Serve, repository: Path) -> None:
    """
    Without --drift, or without a baseline, there are no series.
    """
    async with serve(model_repository=repository) as running:
        assert _index(running, "brightness") is None
    (repository / "lenet5" / "1" / BASELINE_FILE).unlink()
    async with serve(model_repository=repository, drift=True) as running:
        async with AsyncClient(running.address) as client:
            image = _digits().test.image(0)
            assert (await client.classify(image, model="lenet5")).model == "lenet5"
        assert _counted(running) == 0


def test_window_slides() -> None:
    """
    Counts leave a window when they are older than it.
    """
    window = Window(15.0, {"class": 2})
    for second in range(20):
        window.add("class", np.array([1, second % 2]), float(second))
    assert window.total("class", 19.5).tolist() == [15, 8]
    assert window.total("class", 100.0).tolist() == [0, 0]


def test_window_that_nobody_reads() -> None:
    """
    Counts that are too old are dropped although no scrape reads the window.
    """
    window = Window(15.0, {"class": 2})
    for second in range(1000):
        window.add("class", np.array([1, 0]), float(second))
    assert len(window._slots) <= SLOTS + 1


class Served:
    """The parts of a model that its index names."""

    name = "tiny"
    version = 1


def test_scrape_while_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A scrape, which has a thread of its own, reads no window while another thread counts in it.
    """
    baseline = Baseline(
        model_sha256="0" * 64,
        data="some",
        data_sha256="0" * 64,
        images=500,
        signals={"brightness": Histogram(edges=(0.5,), counts=(250, 250))},
        made_at=datetime.now(UTC),
    )
    drift, model = Drift([15.0]), cast(Model, Served())
    drift._models[model] = _Watched(baseline, [15.0])
    read = []

    def total(window: Window, signal: str, now: float) -> Counts:
        read.append(drift._lock.locked())
        return np.array([500, 500])

    monkeypatch.setattr(Window, "total", total)
    assert len(list(drift.indices())) == 1
    assert read == [True]


def test_bins_have_names_of_their_own() -> None:
    """
    No two bins share a series: not those of a value that many images have, nor equal labels.
    """
    sizes = np.array([4096.0] * 400 + list(range(1, 101)))
    signals = {"size": sizes, "class": np.repeat([0, 1, 2], 200)}
    labels = SimpleNamespace(labels=("cat", "cat", "others"))
    model = SimpleNamespace(name="cats", version=1, manifest=labels)
    baseline = SimpleNamespace(signals=histograms(signals))
    for signal in signals:
        names = _bins(signal, cast(Baseline, baseline), cast(Model, model))
        assert len(names) == len(baseline.signals[signal].counts)
        assert len({*names}) == len(names)


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Too few images, and a model that is not there, are refused in a line.
    """
    add_version(tmp_path / "models", "lenet5")
    for digit in range(10):
        (tmp_path / "few" / str(digit)).mkdir(parents=True)
        Image.new("L", (28, 28)).save(tmp_path / "few" / str(digit) / "one.png")
    few = ["--data", f"folder:{tmp_path / 'few'}", "--model-repository", str(tmp_path / "models")]
    assert run(["baseline", "lenet5", *few]) == 1
    assert "has 10 images that can be used; a baseline needs 500" in capsys.readouterr().err
    assert run(["baseline", "lenet6", *few]) == 1
    assert "no model 'lenet6'" in capsys.readouterr().err


@pytest.mark.slow
def test_cameras(repository: Path) -> None:
    """
    Windows of images like the baseline's raise no alarm; every change does.
    """
    artifact = ModelRepository(repository).read("lenet5", 1)
    images = _digits()
    found = bench.simulate(artifact, images.validation + images.test, splits=20)
    assert found.pop("none").largest < 0.1
    # The network sees grey digits: to swap red and blue, or to weaken them, changes little.
    for change in ("BGR in place of RGB", "recoloured (green 75 %, blue 50 %)"):
        del found[change]
    assert {name: one.alarms for name, one in found.items() if one.alarms < 0.8} == {}
    assert read_baseline(LENET_REPOSITORY / "lenet5" / "1", artifact.manifest) is None
