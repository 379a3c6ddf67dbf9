import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from convoy.artifact.errors import ArtifactError
from convoy.artifact.evaluation import (
    EVALUATION_FILE,
    Bin,
    ClassScore,
    DataEvaluation,
    Measured,
    SavedEvaluations,
    read_evaluations,
    write_evaluation,
)
from convoy.artifact.manifest import Evaluation
from convoy.artifact.repository import ModelRepository
from tests.harness import tiny

SHA256 = "ab" * 32


def evaluation(**changes: Any) -> DataEvaluation:
    """An evaluation on two images."""
    fields: dict[str, Any] = {
        "data": "folder:photos",
        "data_sha256": "0" * 64,
        "images": 2,
        "top1": Measured(count=1, share=0.5, low=0.1, high=0.9),
        "top5": None,
        "ece": 0.25,
        "bins": (Bin(images=2, confidence=0.75, accuracy=0.5),),
        "classes": (ClassScore(label="cat", images=2, precision=1.0, recall=0.5, f1=2 / 3),),
        "confusion": ((0, 0, 1), (0, 1, 1)),
        "images_per_s": 100.0,
        "measured_with": "ONNX Runtime 1.32.0, a processor",
        "measured_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return DataEvaluation(**(fields | changes))


def test_one_for_each_set_of_images(tmp_path: Path) -> None:
    """
    A measurement on the same images replaces the earlier one; others stay.
    """
    folder = tmp_path / "1"
    folder.mkdir()
    first, other, again = (
        evaluation(),
        evaluation(data_sha256="1" * 64),
        evaluation(ece=0.1),
    )
    for one in (first, other, again):
        write_evaluation(folder, one, SHA256)
    assert read_evaluations(folder, SHA256) == (other, again)
    assert [path.name for path in tmp_path.rglob("*")] == ["1", EVALUATION_FILE]


def test_none() -> None:
    """
    A version that was not measured has no evaluation.
    """
    assert read_evaluations(Path("none"), SHA256) == ()


def test_accuracies_of_an_artifact(tmp_path: Path) -> None:
    """
    An artifact has the accuracies of its manifest, and those on other images.
    """
    measured = Evaluation(data="mine", data_sha256="0" * 64, origin="measured", images=2, top1=0.5)
    manifest = tiny.write(tmp_path, evaluations=(measured,))
    for sha256 in ("0" * 64, "1" * 64):
        write_evaluation(
            tmp_path / "tiny" / "1", evaluation(data_sha256=sha256), manifest.model_sha256
        )
    artifact = ModelRepository(tmp_path).read("tiny", 1)
    assert len(artifact.evaluations) == 2
    assert [one.data_sha256 for one in artifact.accuracies] == ["0" * 64, "1" * 64]
    assert artifact.accuracies[0] is artifact.manifest.evaluations[0]
    assert artifact.accuracies[1].top1 == 0.5


def test_of_another_graph(tmp_path: Path) -> None:
    """
    A file that was copied from another version is refused.
    """
    write_evaluation(tmp_path, evaluation(), "cd" * 32)
    with pytest.raises(ArtifactError, match=r"evaluation\.json: describes another graph.*remove"):
        read_evaluations(tmp_path, SHA256)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema_version": 1}'])
def test_damaged(tmp_path: Path, text: str) -> None:
    """
    A damaged file is named, with the way out.
    """
    (tmp_path / EVALUATION_FILE).write_text(text)
    with pytest.raises(ArtifactError, match=r"evaluation\.json: damaged: .*; remove it"):
        read_evaluations(tmp_path, SHA256)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("field", ["images_per_s", "ece"])
def test_numbers_that_json_does_not_have(tmp_path: Path, field: str, number: str) -> None:
    """
    NaN and infinity are refused: no measurement gives them.
    """
    saved = SavedEvaluations(model_sha256=SHA256, evaluations=(evaluation(),))
    text = re.sub(rf'"{field}": ?[\d.]+', f'"{field}": {number}', saved.model_dump_json())
    (tmp_path / EVALUATION_FILE).write_text(text)
    with pytest.raises(ArtifactError, match=rf"evaluation\.json: damaged: .*{field} .*finite"):
        read_evaluations(tmp_path, SHA256)


def test_of_a_newer_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    A file of a newer convoy is ignored, as the model must load after a rollback.
    """
    saved = SavedEvaluations(model_sha256=SHA256, evaluations=(evaluation(),))
    newer = json.loads(saved.model_dump_json()) | {"schema_version": 2}
    (tmp_path / EVALUATION_FILE).write_text(json.dumps(newer))
    with caplog.at_level(logging.WARNING):
        assert read_evaluations(tmp_path, SHA256) == ()
    assert "schema_version 2 is newer than 1" in vars(caplog.records[0])["reason"]


def test_evaluations_of_a_newer_version_are_kept(tmp_path: Path) -> None:
    """
    Nothing is added to a file of a newer convoy, whose evaluations would be lost.
    """
    newer = '{"schema_version": 2}'
    (tmp_path / EVALUATION_FILE).write_text(newer)
    with pytest.raises(ArtifactError, match=r"evaluation\.json: schema_version 2 .*or remove it"):
        write_evaluation(tmp_path, evaluation(), SHA256)
    assert (tmp_path / EVALUATION_FILE).read_text() == newer


def test_evaluations_at_once(tmp_path: Path) -> None:
    """
    Several writers at the same time lose none of their evaluations.
    """
    folder = tmp_path / "1"
    folder.mkdir()
    hashes = {f"{number:064x}" for number in range(64)}

    def write(data_sha256: str) -> None:
        write_evaluation(folder, evaluation(data_sha256=data_sha256), SHA256)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, hashes))
    assert {one.data_sha256 for one in read_evaluations(folder, SHA256)} == hashes
