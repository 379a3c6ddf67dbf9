import shutil
from pathlib import Path
from typing import Any

import pytest

from convoy.artifact.files import write_manifest
from convoy.artifact.manifest import Comparison, Manifest, Precision, Quantization
from convoy.artifact.repository import ModelRepository
from convoy.artifact.tuning import Choice
from convoy.commands.tune.versions import Tuned, recommendation, rows, with_relatives
from tests.harness import tiny


def quantization(source_sha256: str, *, right: int | None = 996) -> Quantization:
    return Quantization(
        source_model="net",
        source_version=1,
        source_sha256=source_sha256,
        scheme="u8s8",
        calibration_data="photos",
        calibration_images=256,
        range_growth=0,
        largest_range_growth=0,
        comparisons=(
            Comparison(
                data="photos, test part",
                images=1000,
                same_class=990,
                largest_change=0.1,
                right_before=None if right is None else 998,
                right=right,
            ),
        ),
        processor="EPYC",
    )


def converted(root: Path, name: str, source: Manifest, target: str | None = None) -> Manifest:
    """Write a version of *target* that says that it is *source* in int8."""
    with ModelRepository(root).writing(target or name) as (folder, number):
        for file in ("model.onnx", "golden.npz"):
            shutil.copy(root / name / "1" / file, folder)
        made = source.model_copy(
            update={
                "name": target or name,
                "version": number,
                "precision": "int8",
                "quantization": quantization(source.model_sha256),
            }
        )
        write_manifest(folder, made)
    return made


def tuned(precision: Precision, images_per_s: float, right: int | None = 996) -> Tuned:
    fields: dict[str, Any] = {"name": "net", "precision": precision}
    if precision == "int8":
        fields |= {"name": "net_int8", "quantization": quantization("0" * 64, right=right)}
    manifest = tiny.manifest(**fields)
    chosen = Choice(threads=1, batch_size=1, images_per_s=images_per_s, run_ms=1.0, run_p99_ms=10.0)
    return Tuned(manifest, chosen)


def test_relatives_are_found(tmp_path: Path) -> None:
    """
    An int8 model of another name, an int8 next version, and the float32 version before it; not
    another model with the very graph.
    """
    source = tiny.write(tmp_path, "net")
    tiny.write(tmp_path, "same")
    tiny.write(tmp_path, "other", model=tiny.graph(repeats=1))
    converted(tmp_path, "net", source, "net_int8")
    converted(tmp_path, "net", source)
    repository = ModelRepository(tmp_path)
    expected = {("net", 1), ("net", 2), ("net_int8", 1)}
    for asked in (("net", 2), ("net", 1), ("net_int8", 1)):
        found = with_relatives(tmp_path, [repository.read(*asked)])
        titles = {(a.manifest.name, a.manifest.version) for a in found}
        # Of a model that was not named, only the newest version is served.
        assert titles == (expected if asked[0] == "net" else expected - {("net", 1)})
    (alone,) = with_relatives(tmp_path, [repository.read("other", 1)])
    assert alone.manifest.name == "other"


def test_model_that_cannot_be_read_is_none_to_choose(tmp_path: Path) -> None:
    """
    A damaged manifest of another model does not stop the tuning.
    """
    tiny.write(tmp_path, "net")
    tiny.write(tmp_path, "damaged")
    (tmp_path / "damaged/1/manifest.json").write_text("{")
    artifact = ModelRepository(tmp_path).read("net", 1)
    assert with_relatives(tmp_path, [artifact]) == [artifact]


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (
            [tuned("float32", 28), tuned("int8", 101)],
            "serve net_int8:1: 3.61 times the images/s of net:1; -0.20 points of accuracy on 1000 "
            "images",
        ),
        (
            [tuned("float32", 28), tuned("int8", 101, right=None)],
            "serve net_int8:1: 3.61 times the images/s of net:1; the same class for 99.0 % of 1000 "
            "images",
        ),
        (
            [tuned("float32", 100), tuned("int8", 53)],
            "serve net:1: net_int8:1 in int8 answers 0.53 times its images/s",
        ),
        # Within the noise, the accuracy decides.
        (
            [tuned("float32", 100), tuned("int8", 102)],
            "serve net:1: net_int8:1 in int8 answers 1.02 times its images/s",
        ),
        (
            [tuned("int8", 50), tuned("int8", 60)],
            "serve net_int8:1: it answers most images within the bound",
        ),
    ],
)
def test_recommendation(versions: list[Tuned], expected: str) -> None:
    """
    The faster version is recommended, with what it costs.
    """
    assert recommendation(versions) == expected


def test_rows() -> None:
    """
    A row has the throughput, the latency under full load, and the difference from float32.
    """
    assert [*rows([tuned("float32", 28), tuned("int8", 1010)])] == [
        ["net:1", "float32", "28.0", "20.00", ""],
        ["net_int8:1", "int8", "1,010.0", "20.00", "-0.20 points of accuracy on 1000 images"],
    ]
