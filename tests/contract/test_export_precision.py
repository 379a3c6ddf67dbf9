"""Artifacts in fewer bits: measured against float32, proven, and served."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnxruntime.quantization import TensorsData
from rich.console import Console

from convoy.artifact.repository import ModelRepository
from convoy.service.runtime.device import Device
from convoy.service.runtime.session import Session

pytest.importorskip("torch", reason="export needs PyTorch")

from convoy.export.errors import PrecisionError
from convoy.export.export_settings import ExportSettings
from convoy.export.exporter import export
from convoy.export.quantization.ranges import measure_ranges


def settings(root: Path, **changes: object) -> ExportSettings:
    """A short training."""
    folders = {"model_repository": root / "models", "runs": root / "runs"}
    return ExportSettings.model_validate(
        {"architecture": "lenet5", "epochs": 3, **folders, **changes}
    )


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "recorded"), [("fp16", "float16"), ("int8", "int8")])
def test_fewer_bits(tmp_path: Path, precision: str, recorded: str) -> None:
    """
    The artifact says its precision and its own accuracy, and passes the server's proof.
    """
    output = io.StringIO()
    export(settings(tmp_path, precision=precision), Console(file=output, width=200))
    artifact = ModelRepository(tmp_path / "models").read("lenet5", 1)
    manifest = artifact.manifest
    assert manifest.precision == recorded
    top1 = manifest.evaluations[0].top1
    assert f"mnist5k, test part: accuracy {top1:.4f} in {recorded}, " in output.getvalue()
    assert (manifest.quantization is not None) == (recorded == "int8")
    if manifest.quantization:
        assert manifest.quantization.source_version is None  # the float32 graph was not kept
        assert manifest.quantization.calibration_data == "mnist5k, training part"
        assert manifest.quantization.comparisons[0].accuracy == top1
    assert artifact.model_path.stat().st_size < 150_000  # a quarter of a megabyte in float32
    assert {path.name for path in artifact.model_path.parent.iterdir()} == {
        *("baseline.json", "golden.npz", "layers.json", "manifest.json", "model.onnx")
    }
    session = Session(artifact, Device(policy="cpu", cores=1))
    answers = session.run(artifact.golden.images)["logits"]
    assert (answers.argmax(1) == artifact.golden.logits.argmax(1)).all()


@pytest.mark.slow
def test_loss_beyond_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A graph that loses too much is refused with both figures, and nothing is written.
    """

    def measure_in_the_dark(
        model: onnx.ModelProto, *parts: Iterable[npt.NDArray[np.uint8]]
    ) -> list[TensorsData]:
        return measure_ranges(model, *((batch * 0 for batch in part) for part in parts))

    # Only the last layer may stay in float32; the first ones would be enough.
    monkeypatch.setattr("convoy.export.quantization.quantizing._LARGEST_SHARE", 0.2)
    monkeypatch.setattr(
        "convoy.export.quantization.quantizing.order_by_error",
        lambda model, ranges, scheme, layers, *others: layers[::-1],
    )
    monkeypatch.setattr("convoy.export.quantization.quantizing.measure_ranges", measure_in_the_dark)
    with pytest.raises(PrecisionError, match=r"still loses .* --max-accuracy-loss allows 0\.5"):
        export(settings(tmp_path, precision="int8"), Console(file=io.StringIO()))
    assert not any((tmp_path / "models").glob("*"))
