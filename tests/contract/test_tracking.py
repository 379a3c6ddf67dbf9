"""Trackers: the recordings of a training in TensorBoard's and MLflow's own formats."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console

from convoy.artifact.files import file_sha256
from convoy.artifact.repository import ModelRepository

pytest.importorskip("torch", reason="export needs PyTorch")

from convoy.export import exporter
from convoy.export.errors import ExportError, TrackingError
from convoy.export.export_settings import ExportSettings
from convoy.export.training.epoch_log import METRICS_FILE, read_metrics
from convoy.export.training.run_folder import CHECKPOINT_FILE
from convoy.export.training.tracking import make_trackers
from convoy.export.training.trainer import Step


def settings(folder: Path, **changes: object) -> ExportSettings:
    values = {"architecture": "lenet5", "model_repository": folder / "models", "epochs": 2}
    return ExportSettings.model_validate({**values, "runs": folder / "runs", **changes})


def interrupt_in(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C come in the middle of *epoch*."""

    def step(self: object, step: Step) -> None:
        if step.epoch == epoch and step.done % 20 == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr("convoy.export.training.progress._Lines.step", step)


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Event files have both curves, the learning rate, the settings and the artifact; those of a
    training that was interrupted and resumed have each epoch once.
    """
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = io.StringIO()
    chosen = settings(tmp_path, track=["tensorboard"])
    with monkeypatch.context() as patch:
        interrupt_in(2, patch)
        with pytest.raises(KeyboardInterrupt):
            exporter.export(chosen, Console(file=output, width=500))
    exporter.export(chosen, Console(file=output, width=500))
    assert (
        f"recorded for TensorBoard: tensorboard --logdir {tmp_path / 'runs'}" in output.getvalue()
    )
    epochs = read_metrics(tmp_path / "runs" / "lenet5" / METRICS_FILE)
    for part, names in (
        ("train", {"loss": "loss", "accuracy": "accuracy", "learning_rate": "learning_rate"}),
        ("validation", {"loss": "validation_loss", "accuracy": "validation_accuracy"}),
    ):
        events = EventAccumulator(str(tmp_path / "runs" / "lenet5" / "tensorboard" / part))
        events.Reload()
        for tag, field in names.items():
            found = [(event.step, event.value) for event in events.Scalars(tag)]
            expected = [(epoch.epoch, getattr(epoch, field)) for epoch in epochs]
            assert found == [(step, pytest.approx(value)) for step, value in expected]
        texts = {tag: events.Tensors(tag)[-1] for tag in events.Tags()["tensors"]}
        if part == "train":
            told = texts["settings/text_summary"].tensor_proto.string_val[0].decode()
            assert "| recipe.batch_size | 64 |" in told
            told = texts["artifact/text_summary"].tensor_proto.string_val[0].decode()
            assert file_sha256(tmp_path / "models" / "lenet5" / "1" / "model.onnx") in told


def test_tensorboard_from_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A training that is recorded from its resumption on has the epochs before it, too.
    """
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with monkeypatch.context() as patch:
        interrupt_in(3, patch)
        with pytest.raises(KeyboardInterrupt):
            exporter.export(settings(tmp_path, epochs=3), Console(file=io.StringIO()))
    chosen = settings(tmp_path, epochs=3, track=["tensorboard"])
    exporter.export(chosen, Console(file=io.StringIO()))
    events = EventAccumulator(str(tmp_path / "runs" / "lenet5" / "tensorboard" / "train"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]


COMMAND = (sys.executable, "-m", "convoy")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not find_spec("mlflow"), reason="MLflow is not installed")
def test_mlflow(tmp_path: Path) -> None:
    """
    A training that is interrupted and resumed, at another commit, is one run of MLflow's, with its
    curves, settings and model; the folder of the model is imported without options, and has the
    same graph.
    """
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store}  # noqa: TID251
    places = ["--model-repository", "models", "--runs", "runs"]
    command = [*COMMAND, "export", "lenet5", "--epochs", "3", "--track", "mlflow", *places]

    def run(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def commit() -> None:
        author = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        run("git", *author, "commit", "--quiet", "--allow-empty", "--message", "Change")

    (tmp_path / "recipe.txt").touch()
    run("git", "init", "--quiet")
    run("git", "add", "recipe.txt")
    commit()
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch 1/3  loss") for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        process.stdout.read()  # else it would write to a closed pipe
    assert process.returncode == 130
    assert "('KILLED', 1)" in run(sys.executable, "-c", READ_RUN, store)
    commit()
    assert "resuming after epoch" in run(*command)
    told = run(sys.executable, "-c", READ_RUN, store)
    assert "('FINISHED', 3)" in told
    assert "'recipe.batch_size': '64'" in told
    epochs = read_metrics(tmp_path / "runs" / "lenet5" / METRICS_FILE)
    for epoch in epochs:
        assert f"({epoch.epoch}, {epoch.loss}, {epoch.validation_accuracy})" in told
    folder = told.rpartition("model ")[2].strip()
    assert "--pad 2" in run(*COMMAND, "import", folder, "--model-repository", "imported")
    trained = ModelRepository(tmp_path / "models").read("lenet5", 1).manifest
    imported = ModelRepository(tmp_path / "imported").read("lenet5", 1).manifest
    for field in ("labels", "preprocessing", "model_sha256"):
        assert getattr(imported, field) == getattr(trained, field)
    url = {**environment, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    url["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    failed = subprocess.run(
        [*command, "--name", "other"], cwd=tmp_path, env=url, capture_output=True, text=True
    )
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith(
        "convoy export: cannot record the training at http://127.0.0.1:9 (MLflow): "
    )


READ_RUN = """
import sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
(run,) = mlflow.search_runs(output_format="list", search_all_experiments=True)
client = mlflow.MlflowClient()
def history(name):
    return {one.step: one.value for one in client.get_metric_history(run.info.run_id, name)}
loss, accuracy = history("loss"), history("validation_accuracy")
print((run.info.status, len(loss)), run.data.params)
print([(step, loss[step], accuracy[step]) for step in sorted(loss)])
for model in mlflow.search_logged_models(output_format="list"):
    print("model", mlflow.artifacts.download_artifacts(model.model_uri))
"""
"""Prints status, settings, measurements and the model's folder of the one run in a store."""


def test_tracker_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A missing package is named with its extra, before anything is read or written.
    """
    monkeypatch.setattr("convoy.export.training.tracking.tracker.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"--track mlflow needs .* pip install '\.\[mlflow\]'"):
        exporter.export(settings(tmp_path, track=["mlflow"]), Console(file=io.StringIO()))
    assert list(tmp_path.iterdir()) == []
    assert make_trackers([]) == ()


class Failing:
    """A tracker whose server fails after the first epoch."""

    name = "a server"

    def begin(self, folder: Path, record: object, epochs: object) -> str:
        return "nowhere"

    def epoch(self, epoch: object) -> None:
        raise TrackingError("the server is gone")


def test_tracker_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A training that cannot be recorded ends with the reason, and goes on from its checkpoint without
    the tracker.
    """
    with monkeypatch.context() as patch:
        patch.setattr("convoy.export.training.task.make_trackers", lambda names: (Failing(),))
        with pytest.raises(ExportError, match="the server is gone"):
            exporter.export(settings(tmp_path), Console(file=io.StringIO()))
    assert (tmp_path / "runs" / "lenet5" / CHECKPOINT_FILE).exists()
    output = io.StringIO()
    exporter.export(settings(tmp_path), Console(file=output))
    assert "resuming after epoch 1 of 2" in output.getvalue()
