"""From a trained network to the three files of an artifact: graph, proof, measurements."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnxruntime import InferenceSession
from rich.console import Console

from artifact.files import (
    GOLDEN_FILE,
    MODEL_FILE,
    Golden,
    file_sha256,
    write_golden,
    write_manifest,
)
from artifact.manifest import (
    Evaluation,
    InputTensor,
    Manifest,
    Normalization,
    Preprocessing,
    Training,
)
from export import cost, data, graph, measure
from export.recipes import Recipe
from export.settings import ExportSettings
from models import ARCHITECTURES

GOLDEN_COUNT = 4
"""Images in `golden.npz`, spread over the test images and so over their classes."""

TOOLS = (
    *("convoy", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime"),
    *("numpy", "pillow", "simplejpeg", "mlxtend"),
)
"""Packages whose versions go into the manifest: whatever has a part in the weights or pixels."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the manifest tells of an export beside what is measured."""

    settings: ExportSettings
    recipe: Recipe
    data_set: data.DataSet
    name: str
    version: int


def write(
    servable: graph.Servable,
    facts: Facts,
    pixels: npt.NDArray[np.uint8],
    folder: Path,
    console: Console,
) -> Manifest:
    """
    Export *servable*, prove, evaluate and measure it; write the three files into *folder*.

    Args:
        pixels: The test images: uint8 `[N, H, W, C]`.

    Raises:
        ProofError: If the graph does not answer as the network does.
    """
    tensor = input_tensor(facts.recipe.preprocessing)
    model_path = folder / MODEL_FILE
    graph.export_onnx(servable, tensor, model_path)
    session = graph.open_session(model_path)
    worst = graph.prove(session, servable, _at_least(pixels, max(graph.PROOF_BATCH_SIZES)))
    console.print(
        f"proof: ONNX Runtime and PyTorch differ by {worst:.1e} of the logits' range at batch "
        f"{', '.join(map(str, graph.PROOF_BATCH_SIZES))}; {graph.PROOF_TOLERANCE:.0e} is allowed"
    )
    golden = pixels[:: max(1, len(pixels) // GOLDEN_COUNT)][:GOLDEN_COUNT]
    write_golden(folder, Golden(golden, graph.torch_logits(servable, golden)))
    manifest = _manifest(servable, facts, tensor, session, pixels, folder)
    write_manifest(folder, manifest)
    return manifest


def _manifest(
    servable: graph.Servable,
    facts: Facts,
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
        memory=cost.measure_memory(folder / MODEL_FILE, _at_least(pixels, max_batch_size)),
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


def input_tensor(spec: Preprocessing) -> InputTensor:
    """The graph's input for images that were preprocessed by *spec*."""
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
