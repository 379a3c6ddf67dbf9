"""Baselines: bins, the index, and its behaviour by chance."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convoy.artifact.baseline import (
    BASELINE_FILE,
    MIN_IMAGES,
    SIGNALS,
    Baseline,
    histograms,
    read_baseline,
    stability_index,
    write_baseline,
)
from convoy.artifact.errors import ArtifactError
from convoy.artifact.manifest import InputTensor, Normalization
from convoy.artifact.signals import of_headers, of_inputs, of_scores
from tests.harness import tiny
from tests.harness.images import encode

SHA = "a" * 64


def test_index_by_hand() -> None:
    """
    The index is the sum over the bins, less what chance adds.
    """
    expected = (0.7 - 0.5) * np.log(0.7 / 0.5) + (0.3 - 0.5) * np.log(0.3 / 0.5)
    found = stability_index([5000, 5000], [7000, 3000])
    assert found == pytest.approx(expected - 2 / 10_000, rel=1e-2)
    assert stability_index([500, 500], [500, 500]) == 0


@pytest.mark.parametrize(("images", "classes"), [(500, 10), (500, 1000), (1000, 101)])
def test_chance(images: int, classes: int) -> None:
    """
    Windows of the same distribution are below 0.1 in 99 of 100 cases, with few images and many
    classes, too.
    """
    random = np.random.default_rng(0)
    indices = []
    for _ in range(300):
        one, other = random.integers(0, classes, (2, images))
        histogram = histograms({"class": one})["class"]
        indices.append(stability_index(histogram.counts, histogram.count("class", other)))
    for _ in range(300):
        one, other = random.normal(size=(2, images))
        histogram = histograms({"brightness": one})["brightness"]
        indices.append(stability_index(histogram.counts, histogram.count("brightness", other)))
    assert np.quantile(indices, 0.99) < 0.1


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_bins_hold_every_value(values: list[float]) -> None:
    """
    Each value is counted in one bin, those beyond the edges too.
    """
    histogram = histograms({"size": np.array(values)})["size"]
    assert sum(histogram.counts) == len(values)
    assert histogram.count("size", np.array([-1e9, 1e9])).sum() == 2


def test_common_value_has_a_bin() -> None:
    """
    If all images have one size, smaller and larger ones differ from it by far.
    """
    histogram = histograms({"size": np.full(1000, 4096.0)})["size"]
    for other in (4095.0, 4097.0):
        found = histogram.count("size", np.full(1000, other))
        assert stability_index(histogram.counts, found) > 1
    same = histogram.count("size", np.full(1000, 4096.0))
    assert stability_index(histogram.counts, same) == 0


def test_rare_classes_are_counted_together() -> None:
    """
    The largest classes have bins; a class that the baseline lacks falls into the last one.
    """
    classes = np.repeat(np.arange(300), np.arange(300) // 30 + 20)
    histogram = histograms({"class": classes})["class"]
    assert len(histogram.edges) == 100
    assert histogram.count("class", np.array([0, 299, 999])).tolist()[-1] == 2


def _baseline() -> Baseline:
    classes = np.arange(MIN_IMAGES) % tiny.CLASSES
    signals = histograms({"confidence": np.linspace(0, 1, MIN_IMAGES), "class": classes})
    return Baseline(
        model_sha256=SHA,
        data="folder:photos",
        data_sha256=SHA,
        images=MIN_IMAGES,
        signals=signals,
        made_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_file(tmp_path: Path) -> None:
    """
    A baseline is read as it was written; none is no error, a foreign or damaged one is.
    """
    folder = tmp_path / "1"
    folder.mkdir()
    manifest = tiny.manifest(model_sha256=SHA)
    assert read_baseline(folder, manifest) is None
    write_baseline(folder, _baseline())
    assert read_baseline(folder, manifest) == _baseline()
    with pytest.raises(ArtifactError, match="describes another graph"):
        read_baseline(folder, tiny.manifest(model_sha256="b" * 64))
    (folder / BASELINE_FILE).write_text("{}")
    with pytest.raises(ArtifactError, match=r"baseline\.json: damaged: .*; remove it"):
        read_baseline(folder, manifest)
    # A file of a newer convoy must not keep the model from loading.
    (folder / BASELINE_FILE).write_text('{"schema_version": 2}')
    assert read_baseline(folder, manifest) is None


@pytest.mark.parametrize(
    ("signal", "edge", "reason"),
    [
        ("class", "999", "has 999, but the class indices of the model are 0 to 4"),
        ("class", "1e300", "but the class indices of the model are 0 to 4"),
        ("class", "-11", "must ascend"),
        ("class", "Infinity", "finite"),
        ("class", "3.5", "must be class indices"),
        ("class", "3", "must ascend"),
        ("confidence", "NaN", "finite"),
        ("confidence", "1e999", "finite"),
        ("confidence", "-1", "must ascend"),
    ],
)
def test_edges_that_no_bin_has(tmp_path: Path, signal: str, edge: str, reason: str) -> None:
    """
    A last edge that is no class or does not ascend is refused: the metrics could not name its bin.
    """
    content = json.loads(_baseline().model_dump_json())
    content["signals"][signal]["edges"][-1] = "?"
    (tmp_path / BASELINE_FILE).write_text(json.dumps(content).replace('"?"', edge))
    with pytest.raises(ArtifactError, match=rf"baseline\.json: damaged: .*{reason}.*; remove it"):
        read_baseline(tmp_path, tiny.manifest(model_sha256=SHA))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"noise": {"edges": [], "counts": [500]}}, "unknown signals: noise"),
        ({"class": {"edges": [-1], "counts": [0, 500]}}, "must be class indices"),
        ({"size": {"edges": [], "counts": [10**400]}}, "less than or equal to"),
    ],
)
def test_signals_that_cannot_be_compared(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    """
    A signal that no image has, or numbers that the index cannot be computed of, are refused.
    """
    content = json.loads(_baseline().model_dump_json())
    content["signals"] |= change
    (tmp_path / BASELINE_FILE).write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=rf"baseline\.json: damaged: .*{reason}.*; remove it"):
        read_baseline(tmp_path, tiny.manifest(model_sha256=SHA))


def test_all_signals_are_known() -> None:
    """
    A baseline may have every signal that images and answers have.
    """
    tensor = InputTensor(name="image", dtype="uint8", layout="NHWC", channels=3, height=4, width=4)
    plain = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3, where="graph")
    found = {
        **of_scores(np.zeros((1, 5), np.float32), "logits"),
        **of_inputs([np.zeros((1, 4, 4, 3), np.uint8)], tensor, plain),
        **of_headers([encode(Image.new("RGB", (4, 4)))]),
    }
    assert set(found) == set(SIGNALS)
