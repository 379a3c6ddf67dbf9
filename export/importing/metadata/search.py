"""Finds the descriptions of a graph: in its file, and in files next to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from convoy.export.data.labels import read_labels
from convoy.export.errors import DataError
from convoy.export.importing.metadata.companion import Companion
from convoy.export.importing.metadata.huggingface import (
    ImageProcessor,
    ModelConfig,
    processor_fields,
)
from convoy.export.importing.metadata.mlflow_model import MLMODEL_FILE, read_mlmodel
from convoy.export.importing.metadata.properties import Properties
from convoy.export.importing.metadata.timm_config import TimmConfig, pretrained_cfg

_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_CONFIGS = ("config.json", "pretrained_cfg.json")
_LABELS = ("labels", "classes", "class_names", "class_indices", "imagenet_class_index")
"""Names of files of labels, without their endings."""


@dataclass(frozen=True, slots=True)
class LabelsFile(Companion):
    """A file of labels."""

    path: Path

    def labels(self) -> list[Any] | None:
        return list(read_labels(self.path))


def companions(file: Path, model: onnx.ModelProto) -> Iterator[Companion]:
    """
    Yield the descriptions of *model*, which was read from *file*; the nearest one first.

    Raises:
        DataError: If a file next to it cannot be read; names it.
    """
    properties = {entry.key: entry.value for entry in model.metadata_props}
    yield Properties(f"{file.name}, metadata", properties)
    if (mlmodel := file.parent / MLMODEL_FILE).is_file():
        yield read_mlmodel(mlmodel)
    # Optimum and transformers.js put graphs into a folder `onnx` below the other files.
    folders = [file.parent, *([file.parent.parent] if file.parent.name == "onnx" else [])]
    for folder in folders:
        for name in (*_PROCESSORS, *_CONFIGS):
            if (document := _document(folder / name)) is not None:
                yield from _read(name, document)
        for path in _label_files(folder, file.stem):
            yield LabelsFile(path.name, {}, path)


def _document(path: Path) -> Mapping[str, Any] | None:
    """Return the JSON object in the file *path*; None if there is no file."""
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f"is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise _unreadable(path, "holds no JSON object")
    # Other values would hide what timm states.
    if not isinstance(document.get("pretrained_cfg", {}), dict):
        raise _unreadable(path, "has a pretrained_cfg that is no JSON object")
    return document


def _unreadable(path: Path, problem: str) -> DataError:
    return DataError(
        f"{path} {problem}; repair it, or ignore all files next to the model with --no-metadata"
    )


def _read(name: str, document: Mapping[str, Any]) -> Iterator[Companion]:
    # Of timm, in a file of any name.
    if pretrained_cfg(document) is not None:
        yield TimmConfig(name, document)
    elif name in _PROCESSORS:
        yield ImageProcessor(name, processor_fields(document))
    else:
        yield ModelConfig(name, document)


def _label_files(folder: Path, stem: str) -> Iterator[Path]:
    # Those that name the graph come first.
    names = [f"{stem}{mark}labels" for mark in ".-_"] + list(_LABELS)
    for name in names:
        for suffix in (".txt", ".json"):
            if (path := folder / f"{name}{suffix}").is_file():
                yield path
