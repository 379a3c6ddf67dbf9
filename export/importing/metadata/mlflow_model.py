"""Folders of models that MLflow logged: the file `MLmodel` names the graph, and has metadata.

The format: https://mlflow.org/docs/latest/ml/model/, "Storage format". `convoy export --track
mlflow` writes the options of an import into the metadata, so that no option has to be given again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from convoy.artifact.manifest import Manifest
from convoy.export.data.labels import labels_under_key
from convoy.export.errors import DataError, GraphError
from convoy.export.importing.metadata.companion import Companion, Options
from convoy.export.importing.signature import GraphShape

MLMODEL_FILE = "MLmodel"

_OURS = "convoy"
"""Key of convoy's part of the metadata: options of `convoy import`, by name."""


def metadata_of(manifest: Manifest) -> dict[str, Any]:
    """Return the metadata for a logged model: the options to import it with."""
    spec, normalization = manifest.preprocessing, manifest.normalization
    is_size = not isinstance(spec.resize_px, int)
    squash_or_letterbox = "squash" if spec.letterbox is None else "letterbox"
    options: dict[str, Any] = {
        "name": manifest.name,
        "labels": list(manifest.labels),
        "color": spec.color,
        "resize": spec.resize_px,
        "resize_mode": squash_or_letterbox if is_size else "crop",
        "crop": (spec.crop_height_px, spec.crop_width_px),
        "crop_offset": spec.crop_offset,
        "pad": spec.pad_px,
        "interpolation": spec.interpolation,
        "antialias": spec.antialias,
        "scaled_decoding": spec.scaled_decoding,
        "normalization": normalization.where,
        "mean": normalization.mean,
        "std": normalization.std,
    }
    if spec.letterbox is not None:
        options["fill"] = spec.letterbox
    # Lists, as YAML has no tuples.
    plain = {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()}
    return {_OURS: plain}


def graph_in(folder: Path) -> Path:
    """
    Return the graph of the logged model in *folder*.

    Raises:
        GraphError: If the folder holds no such model, or one of another kind.
    """
    path = folder / MLMODEL_FILE
    if not path.is_file():
        raise GraphError(
            f"{folder} is a folder without a file {MLMODEL_FILE}: name an ONNX file, or the folder "
            "of a model that MLflow logged"
        )
    flavors = _read(path).get("flavors")
    flavors = flavors if isinstance(flavors, dict) else {}
    onnx = flavors.get("onnx")
    if not isinstance(onnx, dict) or not isinstance(onnx.get("data"), str):
        raise GraphError(
            f"{path} describes no ONNX model, but {', '.join(map(str, flavors)) or 'none'}: log "
            "the model with mlflow.onnx.log_model"
        )
    return folder / str(onnx["data"])


def model_name_in(folder: Path) -> str | None:
    """Return the name that convoy gave the logged model in *folder*; None if it did not log it."""
    name = _ours(_metadata(_read(folder / MLMODEL_FILE))).get("name")
    return name if isinstance(name, str) else None


def read_mlmodel(path: Path) -> MlflowModel:
    """
    Read a file `MLmodel`.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return MlflowModel(path.name, _metadata(_read(path)))
    except GraphError as error:
        raise DataError(f"{error}; repair it, or ignore it with --no-metadata") from error


@dataclass(frozen=True, slots=True)
class MlflowModel(Companion):
    """The metadata of a logged model: what convoy wrote there, or labels under a usual name."""

    def labels(self) -> list[Any] | None:
        own = labels_under_key(self.name, _ours(self.fields))
        return own or labels_under_key(self.name, self.fields)

    def sizes(self, shape: GraphShape) -> Options:
        return self._options("resize", "resize_mode", "crop", "crop_offset", "pad", "fill")

    def filter(self) -> Options:
        return self._options("interpolation", "antialias", "scaled_decoding")

    def channels(self, shape: GraphShape) -> Options:
        return self._options("color")

    def values(self) -> Options:
        return self._options("mean", "std", "normalization")

    def _options(self, *names: str) -> Options:
        ours = _ours(self.fields)
        found = {name: ours[name] for name in names if name in ours}
        return {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GraphError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        raise GraphError(f"{path} is not valid YAML: {reason}") from error
    if not isinstance(document, dict):
        raise GraphError(f"{path} is not a description of a model")
    return document


def _metadata(document: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = document.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _ours(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    ours = metadata.get(_OURS)
    return ours if isinstance(ours, dict) else {}
