"""One export from beginning to end: data, training, artifact, summary."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from artifact.manifest import Manifest
from artifact.repository import ModelRepository
from export import data, graph, measure, progress, training
from export.errors import ExportError
from export.recipes import RECIPES, Recipe
from export.settings import ExportSettings
from export.writing import Facts, write
from models import ARCHITECTURES


def export(settings: ExportSettings, console: Console) -> Path | None:
    """
    Train, prove and write one artifact; tell *console* how it goes.

    Returns:
        The folder of the new version; None if `validate_only` is set.

    Raises:
        ExportError: If the architecture or the data set is not known, or the proof fails.
        RepositoryError: If the artifact cannot be written; told before the training.
    """
    recipe = _recipe(settings)
    name = settings.name or settings.architecture
    repository = ModelRepository(settings.model_repository)
    data_set = data.load(settings.data)
    if not settings.validate_only:
        repository.check_writable(name)
    console.print(
        f"data {data_set.name}: {len(data_set.train)} to train, "
        f"{len(data_set.validation)} to validate, {len(data_set.test)} to test"
    )
    if settings.validate_only:
        _validate(settings, recipe, data_set, console)
        return None
    # Before the training, so that a damaged test image does not end it after an hour.
    test_pixels = data_set.test.pixels(recipe.preprocessing)
    network = _train(settings, recipe, data_set, data_set.train + data_set.validation, console)
    servable = graph.Servable(network, recipe.mean, recipe.std).eval()
    with repository.writing(name) as (folder, number):
        facts = Facts(settings, recipe, data_set, name, number)
        manifest = write(servable, facts, test_pixels, folder, console)
    path = repository.root / name / str(number)
    _print_summary(manifest, path, console)
    return path


def _recipe(settings: ExportSettings) -> Recipe:
    if settings.architecture not in ARCHITECTURES:
        raise ExportError(
            f"unknown architecture {settings.architecture!r}: known are {', '.join(ARCHITECTURES)}"
        )
    recipe = RECIPES[settings.architecture]
    return dataclasses.replace(recipe, epochs=settings.epochs or recipe.epochs)


def _train(
    settings: ExportSettings,
    recipe: Recipe,
    data_set: data.DataSet,
    split: data.Split,
    console: Console,
) -> nn.Module:
    """Build the network and fit it to *split*; the same seed gives the same weights."""
    torch.manual_seed(settings.seed)
    torch.use_deterministic_algorithms(True)
    network = ARCHITECTURES[settings.architecture].build(num_classes=len(data_set.labels))
    pixels = torch.from_numpy(split.pixels(recipe.preprocessing))
    with progress.shown(console, recipe.epochs) as report:
        training.train(
            network, pixels, torch.from_numpy(split.labels), recipe, settings.seed, report
        )
    return network


def _validate(
    settings: ExportSettings, recipe: Recipe, data_set: data.DataSet, console: Console
) -> None:
    network = _train(settings, recipe, data_set, data_set.train, console)
    servable = graph.Servable(network, recipe.mean, recipe.std).eval()
    logits = graph.torch_logits(servable, data_set.validation.pixels(recipe.preprocessing))
    share = measure.accuracy(logits, data_set.validation.labels, top=1)
    console.print(f"accuracy {share:.4f} on {len(logits)} validation images; nothing written")


def _print_summary(manifest: Manifest, path: Path, console: Console) -> None:
    assert manifest.memory is not None
    (evaluation,), memory = manifest.evaluations, manifest.memory
    top5 = "" if evaluation.top5 is None else f", top-5 {evaluation.top5:.4f}"
    facts = {
        "artifact": path,
        "model": f"{manifest.name} version {manifest.version}",
        "classes": len(manifest.labels),
        "input": f"uint8 [N, {', '.join(map(str, manifest.input.item_shape))}]",
        "parameters": f"{manifest.parameter_count:,}",
        "MACs per image": f"{manifest.macs:,}",
        "accuracy": f"top-1 {evaluation.top1:.4f}{top5} on {evaluation.images} images",
        "memory": f"weights {memory.weights_bytes / 1e6:.2f} MB, "
        f"arena {memory.arena_peak_bytes / 1e6:.2f} MB at batch {memory.batch_size}",
        "SHA-256": manifest.model_sha256,
    }
    for name, fact in facts.items():
        console.print(f"{name:16}{fact}")
