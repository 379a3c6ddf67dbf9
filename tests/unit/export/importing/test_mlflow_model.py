"""Folders of models that MLflow logged. `tests/contract/test_tracking.py` lets MLflow write one."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from convoy.artifact.manifest import Manifest, Preprocessing
from convoy.artifact.repository import ModelRepository
from convoy.export.errors import ExportError
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.importer import import_model
from convoy.export.importing.metadata.mlflow_model import MlflowModel, metadata_of

LENET = Path(__file__).parents[3] / "data" / "model_repository"

MLMODEL = """
artifact_path: lenet5
flavors:
  onnx:
    code: null
    data: model.onnx
    onnx_session_options: null
    onnx_version: 1.23.2
    providers:
    - CUDAExecutionProvider
    - CPUExecutionProvider
  python_function:
    data: model.onnx
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.onnx
    python_version: 3.11.7
metadata:
  labels: [zero, one, two, three, four, five, six, seven, eight, nine]
mlflow_version: 3.17.2
model_id: m-04869f558a7d45f988ac07ff2546739e
run_id: e333a4ba92c242e0b675f4d83b533a83
"""
"""Written by mlflow.onnx.log_model of MLflow 3.17.2, without sizes and dates."""


def imported(folder: Path, **options: object) -> Manifest:
    repository = folder.parent / "models"
    chosen = {"file": folder, "model_repository": repository, "resize": 28, "crop": "28", "pad": 2}
    chosen |= options
    path = Path(import_model(ImportSettings.model_validate(chosen), Console(file=io.StringIO())))
    return ModelRepository(repository).read(path.parent.name, int(path.name)).manifest


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    folder = tmp_path / "My digits"
    folder.mkdir()
    shutil.copy(LENET / "lenet5" / "1" / "model.onnx", folder)
    (folder / "MLmodel").write_text(MLMODEL)
    return folder


def test_folder(logged: Path) -> None:
    """
    The file names the graph, and the folder the model; labels may be in the metadata.
    """
    manifest = imported(logged)
    assert manifest.name == "my-digits"
    assert manifest.labels[:3] == ("zero", "one", "two")
    assert imported(logged, name="other").name == "other"
    assert imported(logged, metadata=False).labels[0] == "class 0"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "is a folder without a file MLmodel: name an ONNX file"),
        ("flavors: {sklearn: {}, python_function: {}}", "no ONNX model, but sklearn, python_funct"),
        ("flavors: [", "MLmodel is not valid YAML"),
        ("- 1", "MLmodel is not a description of a model"),
        ("flavors: {onnx: {data: gone.onnx}}", "cannot read .*gone.onnx"),
    ],
)
def test_folder_that_is_none(logged: Path, text: str | None, problem: str) -> None:
    """
    A folder without a graph for convoy is refused with the reason.
    """
    if text is None:
        (logged / "MLmodel").unlink()
    else:
        (logged / "MLmodel").write_text(text)
    with pytest.raises(ExportError, match=problem):
        imported(logged)


@pytest.mark.parametrize(
    "spec",
    [
        Preprocessing(color="L", resize_px=28, crop_height_px=28, crop_width_px=28, pad_px=2),
        Preprocessing(
            color="L", resize_px=(40, 32), crop_height_px=32, crop_width_px=32, crop_offset="down"
        ),
        Preprocessing(
            color="L", resize_px=(32, 32), letterbox=(9,), crop_height_px=32, crop_width_px=32
        ),
    ],
)
def test_metadata_is_read_back(logged: Path, spec: Preprocessing) -> None:
    """
    The metadata of an exported model hold its preprocessing and labels: the import needs no option.
    """
    import yaml

    known = ModelRepository(LENET).read("lenet5", 1).manifest
    known = known.model_copy(update={"preprocessing": spec, "name": "known"})
    document = yaml.safe_load(MLMODEL) | {"metadata": metadata_of(known)}
    (logged / "MLmodel").write_text(yaml.safe_dump(document))
    chosen = ImportSettings.model_validate(
        {"file": logged, "model_repository": logged.parent / "models"}
    )
    path = Path(import_model(chosen, Console(file=io.StringIO())))
    manifest = ModelRepository(logged.parent / "models").read("known", int(path.name)).manifest
    assert manifest.preprocessing == spec
    assert manifest.labels == known.labels


def test_labels_by_index(logged: Path) -> None:
    """
    YAML reads the indices of a map as numbers.
    """
    head = MLMODEL.partition("metadata:")[0]
    labels = ", ".join(f"{index}: digit {index}" for index in range(10))
    (logged / "MLmodel").write_text(f"{head}metadata: {{id2label: {{{labels}}}}}\n")
    assert imported(logged).labels[8:] == ("digit 8", "digit 9")


def test_metadata_of_a_graph_that_the_server_normalises() -> None:
    """
    Mean and deviation are read back with the place where they are used.
    """
    manifest = ModelRepository(LENET).read("lenet5", 1).manifest
    normal = manifest.normalization.model_copy(update={"mean": (0.5,), "where": "server"})
    found = MlflowModel(
        "MLmodel", metadata_of(manifest.model_copy(update={"normalization": normal}))
    )
    values = found.values()
    assert values == {"mean": (0.5,), "std": normal.std, "normalization": "server"}
