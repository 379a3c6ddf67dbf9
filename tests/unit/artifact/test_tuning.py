import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy.artifact.errors import ArtifactError
from convoy.artifact.files import read_artifact
from convoy.artifact.repository import ModelRepository
from convoy.artifact.tuning import (
    TUNING_FILE,
    Choice,
    GpuUse,
    Machine,
    Tuning,
    read_tuning,
    write_tuning,
)
from tests.harness import tiny

MACHINE = Machine(processor="a processor", cores=2, onnxruntime="1.0")
GPU = GpuUse(name="NVIDIA H200", tensorrt=False, tf32=True, cuda_graphs=True)
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
    A file written beside an artifact is read with it and counts as a change.
    """
    tiny.write(tmp_path)
    repository, folder = ModelRepository(tmp_path), tmp_path / "tiny" / "1"
    assert read_artifact(folder).tuning is None
    before = repository.signature("tiny", 1)
    write_tuning(folder, tuning())
    assert repository.read("tiny", 1).tuning == tuning()
    assert repository.signature("tiny", 1) != before
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 3}', '{"machine": {"gpu": 1}}'])
def test_damaged(tmp_path: Path, content: str) -> None:
    """
    A file that is not a tuning is refused, and the message names it.
    """
    (tmp_path / TUNING_FILE).write_text(content)
    with pytest.raises(ArtifactError, match=r"tuning\.json: damaged"):
        read_tuning(tmp_path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("field", ["p99_ms", "images_per_s"])
def test_numbers_that_json_does_not_have(tmp_path: Path, field: str, number: str) -> None:
    """
    NaN and infinity are refused: no measurement gives them.
    """
    text = re.sub(rf'"{field}": ?[\d.]+', f'"{field}": {number}', tuning().model_dump_json())
    (tmp_path / TUNING_FILE).write_text(text)
    with pytest.raises(ArtifactError, match=rf"tuning\.json: damaged: .*{field} .*finite"):
        read_tuning(tmp_path)


def test_runs_at_once() -> None:
    """
    Runs start at once as far as the cores allow; on a GPU one at a time.
    """
    assert [MACHINE.runs_at_once(threads) for threads in (1, 2)] == [2, 1]
    assert MACHINE.model_copy(update={"gpu": GPU}).runs_at_once(1) == 1


def test_holds_for_its_machine_and_model() -> None:
    """
    A tuning is not used on another machine, version of ONNX Runtime or graph.
    """
    made = tuning("a" * 64)
    assert made.holds_for(MACHINE, "a" * 64)
    assert not made.holds_for(MACHINE, "b" * 64)
    for other in ({"processor": "another"}, {"cores": 4}, {"onnxruntime": "2.0"}, {"gpu": GPU}):
        assert not made.holds_for(MACHINE.model_copy(update=other), "a" * 64)


@pytest.mark.parametrize("option", ["name", "tensorrt", "tf32", "cuda_graphs"])
def test_holds_for_one_use_of_a_gpu(option: str) -> None:
    """
    Another GPU, or the same one with another option, is another machine.
    """
    machine = MACHINE.model_copy(update={"gpu": GPU})
    made = tuning().model_copy(update={"machine": machine})
    assert made.holds_for(machine.model_copy(update={"gpu": GPU.model_copy()}), "0" * 64)
    other = "another" if option == "name" else not getattr(GPU, option)
    use = GPU.model_copy(update={option: other})
    assert not made.holds_for(machine.model_copy(update={"gpu": use}), "0" * 64)


def test_device_in_words() -> None:
    """
    The device is named with the options that are on.
    """
    assert MACHINE.device == "a processor"
    machine = MACHINE.model_copy(update={"gpu": GPU})
    assert machine.device == "NVIDIA H200, TF32, CUDA graphs"


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("", None),
        ("NVIDIA H200, TF32, CUDA graphs", GPU),
        ("NVIDIA H200, plain", GPU.model_copy(update={"tf32": False, "cuda_graphs": False})),
        (
            "NVIDIA H200, TensorRT",
            GpuUse(name="NVIDIA H200", tensorrt=True, tf32=False, cuda_graphs=False),
        ),
    ],
)
def test_older_version_is_read(tmp_path: Path, text: str, use: GpuUse | None) -> None:
    """
    Version 1 had the GPU and its options in one text.
    """
    older = json.loads(tuning().model_dump_json()) | {"schema_version": 1}
    older["machine"]["gpu"] = text
    (tmp_path / TUNING_FILE).write_text(json.dumps(older))
    expected = MACHINE.model_copy(update={"gpu": use})
    assert read_tuning(tmp_path) == tuning().model_copy(update={"machine": expected})


def test_version_without_providers_is_read(tmp_path: Path) -> None:
    """
    Version 2 knew no provider but ONNX Runtime's own, and no precision but float32.
    """
    older = json.loads(tuning().model_dump_json()) | {"schema_version": 2}
    for choice in (older["chosen"], *older["measured"]):
        del choice["provider"], choice["precision"]
    (tmp_path / TUNING_FILE).write_text(json.dumps(older))
    assert read_tuning(tmp_path) == tuning()


def test_newer_version_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    A model loads without the tuning of a newer convoy, and the log has the remedy.
    """
    (tmp_path / TUNING_FILE).write_text('{"schema_version": 5}')
    assert read_tuning(tmp_path) is None
    (record,) = caplog.records
    remedy = "upgrade convoy, or remove the file and measure again"
    assert record.getMessage() == f"ignoring tuning.json: {remedy}"
    assert "schema_version 5 is newer than 4" in vars(record)["reason"]
