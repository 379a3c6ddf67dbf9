"""Describes an artifact by its own graph, and writes that beside it. Needs no PyTorch."""

from __future__ import annotations

from pathlib import Path

from convoy.artifact.files import MODEL_FILE, read_manifest
from convoy.artifact.layers import Description, write_layers
from convoy.export.describing.graph_reader import read_graph
from convoy.export.describing.rows import make_rows
from convoy.export.importing.onnx_file import read


def describe_artifact(folder: Path) -> Description:
    """
    Describe the artifact in *folder*.

    Raises:
        ExportError: If its graph cannot be read, or does not run.
        ArtifactError: If its manifest is damaged.
    """
    manifest = read_manifest(folder)
    layers = read_graph(read(folder / MODEL_FILE).model, manifest.input)
    name = f"{manifest.name} version {manifest.version}"
    return Description(name, make_rows(layers), manifest.parameter_count)


def save_layers(folder: Path) -> Description:
    """Write `layers.json` of the artifact in *folder*; returns and raises as above."""
    description = describe_artifact(folder)
    write_layers(folder, description, read_manifest(folder).model_sha256)
    return description
