"""The layer table of a graph or an artifact, and its file in the artifact. Needs no PyTorch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from convoy.artifact.files import MODEL_FILE, read_manifest
from convoy.artifact.layers import Description, write_layers
from convoy.artifact.manifest import InputTensor
from convoy.export.describing.graph_reader import read_graph
from convoy.export.describing.rows import make_rows
from convoy.export.onnx.source import read


def describe_graph(
    file: Path, tensor: InputTensor, name: str, trained_parameters: int | None = None
) -> Description:
    """
    Describe the ONNX *file*, whose input is *tensor*, under *name*.

    Raises:
        GraphError: If it cannot be read, or does not run.
    """
    return Description(name, make_rows(read_graph(read(file).model, tensor)), trained_parameters)


def describe_artifact(folder: Path) -> Description:
    """
    Describe the artifact in *folder*.

    Raises:
        GraphError: If its graph cannot be read, or does not run.
        ArtifactError: If its manifest is damaged.
    """
    manifest = read_manifest(folder)
    name = f"{manifest.name} version {manifest.version}"
    description = describe_graph(
        folder / MODEL_FILE, manifest.input, name, manifest.parameter_count
    )
    return replace(description, is_multi_label=manifest.is_multi_label)


def save_layers(folder: Path) -> Description:
    """Write `layers.json` of the artifact in *folder*; return and raise as above."""
    description = describe_artifact(folder)
    write_layers(folder, description, read_manifest(folder).model_sha256)
    return description
