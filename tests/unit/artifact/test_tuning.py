from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy.artifact.errors import ArtifactError
from convoy.artifact.files import read_artifact
from convoy.artifact.repository import ModelRepository
from convoy.artifact.tuning import TUNING_FILE, Choice, Machine, Tuning, read_tuning, write_tuning
from tests.harness import tiny

MACHINE = Machine(processor="a processor", cores=2, onnxruntime="1.0")
CHOICE = Choice(threads=1, batch_size=4, images_per_s=100.0, run_ms=10.0, run_p99_ms=12.0)


def tuning(model_sha256: str = "0" * 64) -> Tuning:
    return Tuning(
        machine=MACHINE,
        model_sha256=model_sha256,
        p99_ms=50.0,
        chosen=CHOICE,
        measured=(CHOICE,),
        made_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_comes_with_its_artifact(tmp_path: Path) -> None:
    """
    What is written beside an artifact is read with it, and seen by who looks for changes.
    """
    tiny.write(tmp_path)
    repository, folder = ModelRepository(tmp_path), tmp_path / "tiny" / "1"
    assert read_artifact(folder).tuning is None
    before = repository.signature("tiny", 1)
    write_tuning(folder, tuning())
    assert repository.read("tiny", 1).tuning == tuning()
    assert repository.signature("tiny", 1) != before
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 2}'])
def test_damaged(tmp_path: Path, content: str) -> None:
    """
    A file that is none is refused by its name.
    """
    (tmp_path / TUNING_FILE).write_text(content)
    with pytest.raises(ArtifactError, match=r"tuning\.json: damaged"):
        read_tuning(tmp_path)


def test_runs_at_once() -> None:
    """
    As many as the cores allow; on a GPU one at a time.
    """
    assert [MACHINE.runs_at_once(threads) for threads in (1, 2)] == [2, 1]
    assert MACHINE.model_copy(update={"gpu": "one"}).runs_at_once(1) == 1


def test_holds_for_its_machine_and_model() -> None:
    """
    On other machines, versions and graphs it says nothing.
    """
    made = tuning("a" * 64)
    assert made.holds_for(MACHINE, "a" * 64)
    assert not made.holds_for(MACHINE, "b" * 64)
    for other in ({"processor": "another"}, {"cores": 4}, {"onnxruntime": "2.0"}, {"gpu": "one"}):
        assert not made.holds_for(MACHINE.model_copy(update=other), "a" * 64)
