from pathlib import Path
from typing import Any

import onnx
import pytest

from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.repository import ModelRepository
from convoy.commands.compare import machine, measurement_rounds
from convoy.commands.compare.compare_settings import CompareSettings
from convoy.commands.compare.comparison_data import Comparison
from convoy.commands.measurement.artifacts import read_newest
from tests.harness import tiny


def settings(root: Path, **changes: Any) -> CompareSettings:
    fields = {"model_repository": root, "seconds": 0.01, "batch_sizes": (1, 4)}
    return CompareSettings.model_validate(fields | changes)


def measure(root: Path, **changes: Any) -> Comparison:
    chosen = settings(root, **changes)
    return measurement_rounds.measure(
        read_newest(ModelRepository(chosen.model_repository), chosen.models),
        chosen,
        lambda *_: None,
    )


def one_by_one() -> onnx.ModelProto:
    """The tiny graph for batches of one image and no other."""
    model = tiny.graph()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 1
    return model


def test_measures_every_size(tmp_path: Path) -> None:
    """
    Each batch size of each model has a time and its memory, in ascending order; larger ones than
    the artifact's limit are measured all the same.
    """
    for name in ("a", "b"):
        tiny.write(tmp_path, name)
    found = measure(tmp_path, batch_sizes=(32, 1))
    assert [network.name for network in found.networks] == ["a", "b"]
    assert not found.notes
    assert not found.interrupted
    for network in found.networks:
        assert [batch.batch_size for batch in network.batches] == [1, 32]
        assert all(batch.ms_per_image > 0 for batch in network.batches)
        assert all(batch.runs >= measurement_rounds.ROUNDS for batch in network.batches)
        first, last = network.batches
        assert last.arena_peak_bytes > first.arena_peak_bytes
        assert network.weights_bytes >= 4 * network.parameters


def test_newest_version(tmp_path: Path) -> None:
    """
    Only the newest version of a model is compared.
    """
    for _ in range(2):
        tiny.write(tmp_path)
    (network,) = measure(tmp_path).networks
    assert network.version == 2


def test_size_that_fails(tmp_path: Path) -> None:
    """
    A size that the graph does not take is left out and named; nothing else suffers.
    """
    tiny.write(tmp_path, "a", model=one_by_one(), golden=None, max_batch_size=1)
    tiny.write(tmp_path, "b")
    found = measure(tmp_path)
    assert [len(network.batches) for network in found.networks] == [1, 2]
    (note,) = found.notes
    assert note.startswith("a: no batches of 4: ")


def test_model_that_fails(tmp_path: Path) -> None:
    """
    A model whose answers are not the golden ones is left out and named.
    """
    tiny.write(tmp_path, "a", model=tiny.graph(nothing=1))
    tiny.write(tmp_path, "b")
    found = measure(tmp_path)
    assert [network.name for network in found.networks] == ["b"]
    (note,) = found.notes
    assert note.startswith("a: no batches of 1, 4: ")


def test_size_that_would_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A batch that would need more memory than is free is left out; the smallest size never is.
    """
    tiny.write(tmp_path)
    monkeypatch.setattr(machine, "free_bytes", lambda: 2e6)
    found = measure(tmp_path, batch_sizes=(1, 2, 1024))
    (network,) = found.networks
    assert [batch.batch_size for batch in network.batches] == [1, 2]
    assert found.notes == ("tiny: no batches of 1024: would not fit into the 2 MB that are free",)


@pytest.mark.parametrize(
    ("turn", "runs"),
    [("a, round 1 of 3", {}), ("b, round 1 of 3", {"a": 1}), ("b, round 2 of 3", {"a": 2, "b": 1})],
)
def test_interrupted(tmp_path: Path, turn: str, runs: dict[str, int]) -> None:
    """
    Ctrl-C at any turn keeps what was measured before it, and says where it was.
    """
    for name in ("a", "b"):
        tiny.write(tmp_path, name)
    chosen = settings(tmp_path, seconds=1e-9)

    def show(shown: str, *_: int) -> None:
        if shown == turn:
            raise KeyboardInterrupt

    found = measurement_rounds.measure(
        read_newest(ModelRepository(chosen.model_repository), chosen.models), chosen, show
    )
    assert found.interrupted
    assert found.notes == (f"interrupted: {turn}",)
    assert {network.name: network.batches[0].runs for network in found.networks} == runs


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("c", "no model 'c' in .*; expected one of a, b"),
        ("a,c", "no model 'c'"),
        (" ", "no model ' '"),
    ],
)
def test_unknown_model(tmp_path: Path, models: str, message: str) -> None:
    """
    A model that is not there is named, with those that are.
    """
    for name in ("a", "b"):
        tiny.write(tmp_path, name)
    with pytest.raises(RepositoryError, match=message):
        read_newest(ModelRepository(tmp_path), models.split(","))


def test_empty_repository(tmp_path: Path) -> None:
    """
    An empty repository is no comparison.
    """
    with pytest.raises(RepositoryError, match="holds no models"):
        read_newest(ModelRepository(tmp_path), ())


def test_damaged_artifact(tmp_path: Path) -> None:
    """
    A damaged artifact is named before anything is measured.
    """
    tiny.write(tmp_path)
    (tmp_path / "tiny" / "1" / "model.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"model\.onnx: SHA-256"):
        read_newest(ModelRepository(tmp_path), ())


def test_free_memory() -> None:
    """
    The free memory is above zero and below the largest memory of a machine.
    """
    assert 0 < machine.free_bytes() < 2**48


@pytest.mark.parametrize(("names", "other"), [((), None), (("tiny",), "other")])
def test_misnamed_folder(tmp_path: Path, names: tuple[str, ...], other: str | None) -> None:
    """
    The message names a folder whose name breaks a rule.
    """
    tiny.write(tmp_path)
    (tmp_path / "tiny/1").rename(tmp_path / "tiny/001")
    if other:
        tiny.write(tmp_path, other)
    with pytest.raises(RepositoryError, match=r"tiny/001: a version is .* rename the folder to 1"):
        read_newest(ModelRepository(tmp_path), names)
