"""One export from beginning to end: data, training, graph, proof, measurements, artifact."""

from __future__ import annotations

import dataclasses
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import nn

from artifact.manifest import (
    Evaluation,
    InputTensor,
    Manifest,
    Normalization,
    Preprocessing,
    Training,
)
from artifact.repository import (
    MODEL_FILE,
    Golden,
    ModelRepository,
    file_sha256,
    write_golden,
    write_manifest,
)
from export import data, graph, measure, progress, training
from export.errors import ExportError
from export.recipes import RECIPES, Recipe
from export.settings import ExportSettings
from models import ARCHITECTURES

GOLDEN_COUNT = 4
"""Images in `golden.npz`."""

TOOLS = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow")


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
    repository = ModelRepository(settings.model_repository)
    if not settings.validate_only:
        repository.check_writable()
    data_set = data.load(settings.data)
    console.print(
        f"data {data_set.name}: {len(data_set.train)} to train, "
        f"{len(data_set.validation)} to validate, {len(data_set.test)} to test"
    )
    if settings.validate_only:
        _validate(settings, recipe, data_set, console)
        return None
    network = _train(settings, recipe, data_set, data_set.train + data_set.validation, console)
    servable = graph.Servable(network, recipe.mean, recipe.std).eval()
    name = settings.name or settings.architecture
    with repository.writing(name) as (folder, number):
        manifest = _write(servable, settings, recipe, data_set, folder, name, number, console)
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


def _write(
    servable: graph.Servable,
    settings: ExportSettings,
    recipe: Recipe,
    data_set: data.DataSet,
    folder: Path,
    name: str,
    number: int,
    console: Console,
) -> Manifest:
    """Export, prove, evaluate and measure; write the artifact's three files into *folder*."""
    architecture = ARCHITECTURES[settings.architecture]
    tensor = _input_tensor(recipe.preprocessing)
    model_path = folder / MODEL_FILE
    graph.export_onnx(servable, tensor, model_path)
    session = graph.open_session(model_path)
    pixels = data_set.test.pixels(recipe.preprocessing)
    worst = graph.prove(session, servable, _at_least(pixels, max(graph.PROOF_BATCH_SIZES)))
    console.print(
        f"proof: ONNX Runtime and PyTorch differ by {worst:.1e} of the logits' range at batch "
        f"{', '.join(map(str, graph.PROOF_BATCH_SIZES))}; {graph.PROOF_TOLERANCE:.0e} is allowed"
    )
    (logits,) = session.run(["logits"], {tensor.name: pixels})
    write_golden(
        folder,
        Golden(pixels[:GOLDEN_COUNT], graph.torch_logits(servable, pixels[:GOLDEN_COUNT])),
    )
    max_batch_size = Manifest.model_fields["max_batch_size"].default
    manifest = Manifest(
        name=name,
        version=number,
        architecture=settings.architecture,
        labels=data_set.labels,
        input=tensor,
        outputs=graph.OUTPUTS,
        preprocessing=recipe.preprocessing,
        normalization=Normalization(mean=recipe.mean, std=recipe.std, where="graph"),
        parameter_count=measure.count_parameters(servable),
        macs=measure.count_macs(
            servable.network, (architecture.channels, tensor.height, tensor.width)
        ),
        precision="float32",
        opset=graph.OPSET,
        training=Training(
            data=data_set.name,
            images=len(data_set.train) + len(data_set.validation),
            seed=settings.seed,
            recipe=_recipe_record(recipe),
            source=architecture.source,
        ),
        evaluation=Evaluation(
            data=f"{data_set.name}, test part",
            images=len(data_set.test),
            top1=measure.accuracy(logits, data_set.test.labels, top=1),
            top5=measure.accuracy(logits, data_set.test.labels, top=5),
        ),
        memory=measure.measure_memory(model_path, _at_least(pixels, max_batch_size)),
        model_sha256=file_sha256(model_path),
        tools={"python": platform.python_version(), **{tool: version(tool) for tool in TOOLS}},
        created_at=datetime.now(UTC).replace(microsecond=0),
    )
    write_manifest(folder, manifest)
    return manifest


def _input_tensor(spec: Preprocessing) -> InputTensor:
    return InputTensor(
        name=graph.INPUT_NAME,
        dtype="uint8",
        layout="NHWC",
        channels=1 if spec.channels == 1 else 3,
        height=spec.height,
        width=spec.width,
    )


def _recipe_record(recipe: Recipe) -> dict[str, object]:
    """The recipe as plain data; preprocessing and normalisation have places of their own."""
    record = dataclasses.asdict(dataclasses.replace(recipe))
    return {key: record[key] for key in record if key not in ("preprocessing", "mean", "std")}


def _at_least(pixels: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    """*count* images, repeated from the last one backwards where there are fewer."""
    return np.resize(pixels[::-1], (count, *pixels.shape[1:]))


def _print_summary(manifest: Manifest, path: Path, console: Console) -> None:
    assert manifest.evaluation is not None
    assert manifest.memory is not None
    evaluation, memory = manifest.evaluation, manifest.memory
    facts = {
        "artifact": path,
        "model": f"{manifest.name} version {manifest.version}",
        "classes": len(manifest.labels),
        "input": f"uint8 [N, {', '.join(map(str, manifest.input.item_shape))}]",
        "parameters": f"{manifest.parameter_count:,}",
        "MACs per image": f"{manifest.macs:,}",
        "accuracy": f"top-1 {evaluation.top1:.4f}, top-5 {evaluation.top5:.4f} "
        f"on {evaluation.images} images",
        "memory": f"weights {memory.weights_bytes / 1e6:.2f} MB, "
        f"arena {memory.arena_peak_bytes / 1e6:.2f} MB at batch {memory.batch_size}",
        "SHA-256": manifest.model_sha256,
    }
    for name, fact in facts.items():
        console.print(f"{name:16}{fact}")
