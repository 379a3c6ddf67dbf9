"""One description from beginning to end: the meaning of the name, the layers, their rows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from convoy.artifact.files import MANIFEST_FILE, MODEL_FILE
from convoy.artifact.layers import Description
from convoy.artifact.repository import ModelRepository
from convoy.export.describing.describe_settings import DescribeSettings
from convoy.export.describing.graph_reader import read_graph
from convoy.export.describing.layer_table import describe_artifact, save_layers
from convoy.export.describing.rows import make_rows
from convoy.export.errors import ExportError, GraphError
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.signature import open_shape, read_tensor
from convoy.export.onnx.source import read
from convoy.export.recipes import NETWORKS
from convoy.suggestion import suggest

if TYPE_CHECKING:
    from convoy.models import Architecture


def describe(settings: DescribeSettings) -> Description:
    """
    Describe the network that *settings* name.

    It is an architecture, else a path, else a model of the repository.

    PyTorch is imported only if the name can be an architecture's.

    Raises:
        ExportError: If it is none of them, cannot be read, or does not take such images.
        ArtifactError: If a manifest is damaged.
        RepositoryError: If a folder of models cannot be read.
    """
    path = Path(settings.name)
    is_name = path.name == settings.name and path.suffix != ".onnx"
    # PyTorch takes seconds to import: a misspelt name does not wait for it.
    architectures = _architectures() if is_name and settings.name in NETWORKS else {}
    # An architecture; but only an artifact has a place for its layers.
    if settings.name in architectures and not settings.save:
        return _of_architecture(architectures[settings.name], settings)
    # An artifact or a model's folder, by its path or in the repository.
    for place in (path, settings.model_repository / path):
        if folder := _artifact(place):
            return _of_artifact(folder, settings)
    if settings.save:
        raise ExportError(f"--save needs an artifact, which {settings.name} is not")
    # A graph on its own.
    if path.is_file():
        return _of_file(path, settings)
    if not is_name or path.exists():
        raise ExportError(f"{path} is not an ONNX file, an artifact or a folder of versions")
    raise ExportError(_unknown_name(settings))


def _architectures() -> Mapping[str, Architecture]:
    """Return all architectures; none where PyTorch is not installed."""
    try:
        from convoy.models import ARCHITECTURES
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return {}
    return ARCHITECTURES


def _artifact(place: Path) -> Path | None:
    """Return the artifact at *place*, or the newest version of the model at *place*, if any."""
    if place.name == MODEL_FILE:
        place = place.parent
    if (place / MANIFEST_FILE).is_file():
        return place
    versions = ModelRepository(place.parent).versions(place.name)
    return place / str(versions[-1]) if versions else None


def _unknown_name(settings: DescribeSettings) -> str:
    # A network, but `_architectures` found no PyTorch.
    if settings.name in NETWORKS:
        return f"describing the network {settings.name} needs PyTorch; install the extra export"
    root = settings.model_repository
    models = ModelRepository(root).names() if root.is_dir() else []
    known = dict.fromkeys([*NETWORKS, *models])
    advice = suggest(settings.name, known)
    return f"{settings.name!r} is neither a network nor a model in {root}; {advice}"


def _of_architecture(architecture: Architecture, settings: DescribeSettings) -> Description:
    from convoy.export.describing.network_reader import build_network, read_network

    _check_no_layout(settings)
    build = architecture.build
    if settings.classes:
        build = partial(build, num_classes=settings.classes)
    side = settings.input_px or architecture.input_px
    if side < architecture.min_px:
        raise ExportError(f"{settings.name} needs at least {architecture.min_px} px, not {side}")
    layers = read_network(build_network(build), (architecture.channels, side, side))
    return Description(settings.name, make_rows(layers))


def _of_artifact(folder: Path, settings: DescribeSettings) -> Description:
    if settings.classes or settings.input_px:
        raise ExportError(
            f"the classes and the input of {folder} are fixed: leave out --classes and --input-px"
        )
    _check_no_layout(settings)
    return save_layers(folder) if settings.save else describe_artifact(folder)


def _check_no_layout(settings: DescribeSettings) -> None:
    if settings.layout or settings.color:
        raise ExportError(
            f"{settings.name} is not an ONNX file that leaves its input open: leave out --layout "
            "and --color"
        )


def _of_file(path: Path, settings: DescribeSettings) -> Description:
    """Describe a graph without a manifest; its input is what `convoy import` would find."""
    if settings.classes:
        raise ExportError(f"the classes of {path} are fixed: leave out --classes")
    source, side = read(path), settings.input_px
    guess = ImportSettings.model_construct(
        file=path,
        crop=(side, side) if side else None,
        layout=settings.layout,
        color=settings.color,
    )
    size = open_shape(source, guess).size
    if side and size not in (None, (side, side)):
        raise GraphError(f"{path} takes images of {size[0]}x{size[1]}: leave out --input-px")
    try:
        tensor = read_tensor(source, guess, size_flag="--input-px")
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error
    return Description(path.name, make_rows(read_graph(source.model, tensor)))
