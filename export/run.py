"""One export from beginning to end: data, training, graph, proof, measurements, artifact."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from onnxruntime import InferenceSession
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
    GOLDEN_FILE,
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

TOOLS = (
    *("convoy", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime"),
    *("numpy", "pillow", "simplejpeg", "mlxtend"),
)
"""Packages whose versions go into the manifest: whatever has a part in the weights or pixels."""


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
    if not settings.validate_only:
        repository.check_writable(name)
    data_set = data.load(settings.data)
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
        facts = _Facts(settings, recipe, data_set, name, number)
        manifest = _write(servable, facts, test_pixels, folder, console)
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


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the manifest tells of an export beside what is measured."""

    settings: ExportSettings
    recipe: Recipe
    data_set: data.DataSet
    name: str
    version: int


def _write(
    servable: graph.Servable,
    facts: _Facts,
    pixels: npt.NDArray[np.uint8],
    folder: Path,
    console: Console,
) -> Manifest:
    """Export, prove, evaluate on the test *pixels*, measure; write the three files of *folder*."""
    tensor = _input_tensor(facts.recipe.preprocessing)
    model_path = folder / MODEL_FILE
    graph.export_onnx(servable, tensor, model_path)
    session = graph.open_session(model_path)
    worst = graph.prove(session, servable, _at_least(pixels, max(graph.PROOF_BATCH_SIZES)))
    console.print(
        f"proof: ONNX Runtime and PyTorch differ by {worst:.1e} of the logits' range at batch "
        f"{', '.join(map(str, graph.PROOF_BATCH_SIZES))}; {graph.PROOF_TOLERANCE:.0e} is allowed"
    )
    golden = pixels[:GOLDEN_COUNT]
    write_golden(folder, Golden(golden, graph.torch_logits(servable, golden)))
    manifest = _manifest(servable, facts, tensor, session, pixels, folder)
    write_manifest(folder, manifest)
    return manifest


def _manifest(
    servable: graph.Servable,
    facts: _Facts,
    tensor: InputTensor,
    session: InferenceSession,
    pixels: npt.NDArray[np.uint8],
    folder: Path,
) -> Manifest:
    settings, recipe, data_set = facts.settings, facts.recipe, facts.data_set
    architecture = ARCHITECTURES[settings.architecture]
    max_batch_size = Manifest.model_fields["max_batch_size"].default
    return Manifest(
        name=facts.name,
        version=facts.version,
        architecture=settings.architecture,
        source=architecture.source,
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
            data_source=data_set.source,
            images=len(data_set.train) + len(data_set.validation),
            seed=settings.seed,
            recipe=_recipe_record(recipe),
        ),
        evaluations=(_evaluate(session, pixels, data_set, max_batch_size),),
        memory=measure.measure_memory(folder / MODEL_FILE, _at_least(pixels, max_batch_size)),
        model_sha256=file_sha256(folder / MODEL_FILE),
        golden_sha256=file_sha256(folder / GOLDEN_FILE),
        tools={"python": platform.python_version(), **{tool: version(tool) for tool in TOOLS}},
        created_at=datetime.now(UTC).replace(microsecond=0),
    )


def _evaluate(
    session: InferenceSession,
    pixels: npt.NDArray[np.uint8],
    data_set: data.DataSet,
    batch_size: int,
) -> Evaluation:
    """Accuracy of the exported graph itself on the test images."""
    chunks = [pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size)]
    logits = np.concatenate(
        [session.run(["logits"], {graph.INPUT_NAME: chunk})[0] for chunk in chunks]
    )
    labels = data_set.test.labels
    return Evaluation(
        data=f"{data_set.name}, test part",
        source="measured",
        images=len(labels),
        top1=measure.accuracy(logits, labels, top=1),
        top5=measure.accuracy(logits, labels, top=5) if logits.shape[1] > 5 else None,
    )


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
    record = dataclasses.asdict(recipe)
    return {key: record[key] for key in record if key not in ("preprocessing", "mean", "std")}


def _at_least(pixels: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    """*count* images, repeated from the last one backwards where there are fewer."""
    return np.resize(pixels[::-1], (count, *pixels.shape[1:]))


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
