"""`convoy tune` on a real repository, and the server that uses what it wrote."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from convoy.__main__ import main
from convoy.artifact.repository import ModelRepository
from convoy.artifact.tuning import read_tuning, write_tuning
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.machine.resources import usable_cpus
from convoy.service.runtime.device import Device, Gpu
from convoy.service.runtime.runs import CPU, OPENVINO
from convoy.service.runtime.session import Session
from tests.harness import tiny
from tests.harness.full_disk import limited_files
from tests.harness.server import Serve

SHORT = ["--seconds", "0.05"]


@pytest.fixture
def repository(tmp_path: Path) -> list[str]:
    tiny.write(tmp_path, max_batch_size=4)
    return ["--model-repository", str(tmp_path)]


def test_measures_chooses_and_writes(
    repository: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Each number of threads with each batch size is measured; the best is marked, drawn, written.
    """
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    plot = tmp_path / "tuning.png"
    options = ["--p99-ms", "10000", "--plot", str(plot)]
    assert main(["tune", "tiny", *repository, *SHORT, *options]) == 0
    tuning = read_tuning(tmp_path / "tiny" / "1")
    assert tuning is not None
    assert {choice.batch_size for choice in tuning.measured} == {1, 2, 4}
    assert {choice.threads for choice in tuning.measured} >= {1, usable_cpus()}
    assert tuning.chosen in tuning.measured
    assert capsys.readouterr().out.count("chosen") == 1
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_nothing_keeps_the_bound(
    repository: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Nothing is written if no trial meets the bound, or in a dry run.
    """
    assert main(["tune", "tiny", *repository, *SHORT, "--p99-ms", "0.000001"]) == 1
    assert "nothing keeps 1e-06 ms" in capsys.readouterr().out
    assert main(["tune", "tiny", *repository, *SHORT, "--p99-ms", "10000", "--dry-run"]) == 0
    assert read_tuning(tmp_path / "tiny" / "1") is None


def test_no_such_model(repository: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    A model that is not there is one clear line.
    """
    assert main(["tune", "huge", *repository]) == 1
    assert "convoy tune: no model 'huge'" in capsys.readouterr().err


async def test_server_uses_it(serve: Serve, tmp_path: Path) -> None:
    """
    The server runs the model as it was tuned; a request may still hold more than a batch.
    """
    usual = ["--model-repository", str(tmp_path), *SHORT]
    assert main(["tune", "tiny", *usual, "--p99-ms", "10000"]) == 0
    tuning = read_tuning(tmp_path / "tiny" / "1")
    assert tuning is not None
    async with serve(intra_op_threads=0) as running:
        model = running.server.registry.get("tiny")
        assert model.session.tuned == tuning.chosen
        assert model.policy.cores == tuning.chosen.threads
        assert model.policy.max_batch_size == tuning.chosen.batch_size
        assert model.max_batch_size == 8
    async with serve(max_batch_size=8, max_queue_size=300) as running:  # with threads set, too
        model = running.server.registry.get("tiny")
        assert model.session.tuned is None
        assert model.policy.max_batch_size == 8


async def test_load_request_overrules_it(serve: Serve, tmp_path: Path) -> None:
    """
    A load request that sets a batch size means batches of that size, not only requests.
    """
    folder = tmp_path / "tiny" / "1"
    usual = ["--model-repository", str(tmp_path), *SHORT]
    assert main(["tune", "tiny", *usual, "--p99-ms", "10000"]) == 0
    tuning = read_tuning(folder)
    assert tuning is not None
    chosen = tuning.chosen.model_copy(update={"batch_size": 2})
    write_tuning(folder, tuning.model_copy(update={"chosen": chosen}))
    async with serve(
        intra_op_threads=0, model_control_mode="explicit", load_model=["*"]
    ) as running:
        assert running.server.registry.get("tiny").policy.max_batch_size == 2
        request = pb.RepositoryModelLoadRequest(model_name="tiny")
        request.parameters["config"].string_param = json.dumps({"max_batch_size": 6})
        await running.inference.RepositoryModelLoad(request)
        model = running.server.registry.get("tiny")
        assert (model.max_batch_size, model.policy.max_batch_size) == (6, 6)
        assert model.policy.cores == chosen.threads


@pytest.mark.openvino
@pytest.mark.bf16
async def test_providers_are_compared(
    serve: Serve, tmp_path: Path, lenet_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    OpenVINO is measured beside ONNX Runtime; a server that allows it runs the model as tuned.
    """
    shutil.copytree(lenet_repository / "lenet5", tmp_path / "lenet5")
    usual = ["--model-repository", str(tmp_path), *SHORT, "--p99-ms", "10000"]
    assert main(["tune", "lenet5", *usual, "--cpu-precision", "bf16"]) == 0
    folder = tmp_path / "lenet5" / "1"
    tuning = read_tuning(folder)
    assert tuning is not None
    ways = {"onnxruntime", "openvino", "openvino bf16"}
    assert {choice.runtime for choice in tuning.measured} == ways
    assert "openvino bf16" in capsys.readouterr().out
    # Whatever is fastest here: what was chosen is what runs.
    for runtime in ways:
        chosen = next(choice for choice in tuning.measured if choice.runtime == runtime)
        write_tuning(folder, tuning.model_copy(update={"chosen": chosen}))
        async with serve(intra_op_threads=0, cpu_precision="bf16") as running:
            session = running.server.registry.get("lenet5").session
            assert session.tuned == chosen
            assert session.precision == chosen.precision
            expected = CPU if runtime == "onnxruntime" else OPENVINO
            assert session.provider == expected


@pytest.mark.openvino
def test_model_that_openvino_cannot_run(
    repository: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    It is measured without OpenVINO, and the reason is printed; asked for OpenVINO, it is an error.
    """
    tune = ["tune", "tiny", *repository, *SHORT, "--p99-ms", "10000"]
    assert main(tune) == 0
    assert "not measured: OpenVINO cannot run the whole model" in capsys.readouterr().out
    assert main([*tune, "--cpu-provider", "openvino"]) == 1
    assert "OpenVINO cannot run the whole model" in capsys.readouterr().err


def test_bf16_without_openvino(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Options that contradict each other are refused, here and in the server.
    """
    for command in (["tune", "tiny"], ["serve"]):
        options = ["--cpu-provider", "onnxruntime", "--cpu-precision", "bf16"]
        assert main([*command, *options]) == 2
        assert "--cpu-precision bf16 needs OpenVINO" in capsys.readouterr().err


@pytest.mark.gpu
def test_on_a_gpu(
    lenet_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Its batch sizes are measured, and what is found holds for that GPU and that way to use it.
    """
    repository = tmp_path / "models"
    shutil.copytree(lenet_repository, repository)
    options = ["--model-repository", str(repository), *SHORT, "--p99-ms", "10000"]
    assert main(["tune", "lenet5", *options]) == 0
    assert "CUDA graphs" in capsys.readouterr().out
    artifact = ModelRepository(repository).read("lenet5", 1)
    assert artifact.tuning is not None
    assert {choice.threads for choice in artifact.tuning.measured} == {1}
    device = Device(policy="cuda", cores=usable_cpus())
    assert Session(artifact, device).tuned == artifact.tuning.chosen
    assert Session(artifact, replace(device, gpu=Gpu(tf32=True))).tuned is None


def test_versions_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The int8 version of a model is tuned, too, drawn to a file of its own, and one is recommended.
    """
    pytest.importorskip("onnx", reason="quantising needs onnx")
    from tests.harness import colours

    monkeypatch.setenv("CONVOY_MODEL_REPOSITORY", str(tmp_path / "models"))
    colours.imported(tmp_path / "models", colours.classifier())
    photos = colours.write_images(tmp_path / "photos", 20)
    assert main(["quantize", "colours", "--images", str(photos), "--seconds", "0"]) == 0
    options = ["--p99-ms", "10000", "--plot", str(tmp_path / "tuning.png")]
    assert main(["tune", "colours", *SHORT, *options]) == 0
    told = capsys.readouterr().out
    assert "difference from float32" in told
    assert "\nserve colours" in told
    for name in ("colours", "colours_int8"):
        assert read_tuning(tmp_path / "models" / name / "1") is not None
        assert (tmp_path / f"tuning-{name}-1.png").exists()


def test_full_disk(
    repository: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    On a full disk, the command says so in one line and leaves no part of a tuning.
    """
    folder = tmp_path / "tiny" / "1"
    with limited_files(100):
        assert main(["tune", "tiny", *repository, *SHORT, "--p99-ms", "10000"]) == 1
    assert capsys.readouterr().err.endswith("convoy tune: File too large\n")
    assert read_tuning(folder) is None
    assert list(folder.parent.iterdir()) == [folder]
