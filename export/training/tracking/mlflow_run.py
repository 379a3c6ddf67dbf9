"""MLflow: a run on the tracking server or in the store that MLflow's own variables name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

# MLflow reports its use to its makers, and waits for that at the end, unless this is set before it
# is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # noqa: TID251

import mlflow
import onnx
from mlflow.exceptions import MlflowException

from convoy.artifact.files import MANIFEST_FILE, MODEL_FILE, read_manifest
from convoy.export.errors import TrackingError
from convoy.export.importing.metadata.mlflow_model import metadata_of
from convoy.export.training.epoch_log import METRICS_FILE, Epoch
from convoy.export.training.run_folder import CURVES_FILE, MLFLOW_FILE
from convoy.export.training.run_record import RECORD_FILE, RunRecord
from convoy.export.training.tracking.tracker import settings_of


class MLflow:
    """The run of one training. The folder of the training keeps its identifier, to go on with."""

    name = "MLflow"

    def __init__(self) -> None:
        self._run_id: str | None = None

    def begin(self, folder: Path, record: RunRecord, epochs: Sequence[Epoch]) -> str:
        known = folder / MLFLOW_FILE
        run_id = known.read_text().strip() if known.exists() else None
        with _explained():
            # Within a run of the user's own, such as a notebook's, it is nested.
            run = mlflow.start_run(run_id, run_name=record.model_name, nested=True)
            self._run_id = run.info.run_id
            known.write_text(f"{self._run_id}\n")
            settings = settings_of(record)
            # MLflow refuses another value, and a resumed training may be at another commit.
            mlflow.log_params({k: v for k, v in settings.items() if k not in run.data.params})
        # The last epoch once more: a kill may have come between it and its metrics.
        for epoch in epochs[-1:] if run_id else epochs:
            self.epoch(epoch)
        return f"run {self._run_id} at {mlflow.get_tracking_uri()}"

    def epoch(self, epoch: Epoch) -> None:
        measured = {name: value for name, value in asdict(epoch).items() if value is not None}
        with _explained():
            mlflow.log_metrics(measured, step=measured.pop("epoch"), run_id=self._run_id)

    def finish(self, folder: Path, artifact: Path | None) -> None:
        with _explained():
            for name in (RECORD_FILE, METRICS_FILE, CURVES_FILE):
                mlflow.log_artifact(str(folder / name), run_id=self._run_id)
            if artifact is not None:
                self._log_artifact(artifact)
            mlflow.end_run()

    def _log_artifact(self, artifact: Path) -> None:
        """Log the graph as a model of MLflow's flavour for ONNX, and the manifest."""
        manifest = read_manifest(artifact)
        mlflow.onnx.log_model(
            onnx.load(artifact / MODEL_FILE),
            name=manifest.name,
            metadata=metadata_of(manifest),
            save_as_external_data=False,
        )
        mlflow.log_artifact(str(artifact / MANIFEST_FILE), run_id=self._run_id)
        tops = {f"test_accuracy_{n}": one.top1 for n, one in enumerate(manifest.evaluations, 1)}
        mlflow.log_metrics(tops, run_id=self._run_id)

    def stop(self, *, interrupted: bool) -> None:
        if self._run_id is None:  # the innermost run is the user's own
            return
        with _explained():
            mlflow.end_run("KILLED" if interrupted else "FAILED")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors of MLflow into one line for the user."""
    try:
        yield
    except (MlflowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise TrackingError(
            f"cannot record the training at {mlflow.get_tracking_uri()} (MLflow): {reason}; what "
            "was trained is kept: run the same command again, with another MLFLOW_TRACKING_URI or "
            "without --track mlflow"
        ) from error
