"""From a trained network to the three files of an artifact: graph, proof, measurements."""

from __future__ import annotations

import platform
from collections.abc import Iterator
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
)
from export import cost, graph, measure
from export.evaluation import evaluation, logits_of
from export.settings import ExportSettings
from export.subject import Subject
from models import ARCHITECTURES

GOLDEN_COUNT = 4
"""Images in `golden.npz`."""

TOOLS = (
    *("convoy", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime"),
    *("numpy", "pillow", "simplejpeg", "mlxtend"),
)
"""Packages whose versions go into the manifest: whatever has a part in the weights or pixels."""


def write(
    subject: Subject, settings: ExportSettings, number: int, folder: Path, console: Console
) -> Manifest:
    """
    Export *subject*, prove, evaluate and measure it; write the three files into *folder*.

    Args:
        number: Version of the artifact.

    Raises:
        ProofError: If the graph does not answer as the network does.
        DataError: If an image to measure on cannot be read.
    """
    tensor = input_tensor(subject.preprocessing)
    servable = graph.Servable(subject.network, subject.mean, subject.std).eval()
    model_path = folder / MODEL_FILE
    graph.export_onnx(servable, tensor, model_path)
    session = graph.open_session(model_path)
    pixels = _sample(subject)
    worst = graph.prove(session, servable, pixels)
    console.print(
        f"proof: ONNX Runtime and PyTorch differ by {worst:.1e} of the logits' range at batch "
        f"{', '.join(map(str, graph.PROOF_BATCH_SIZES))}; {graph.PROOF_TOLERANCE:.0e} is allowed"
    )
    golden = pixels[:GOLDEN_COUNT]
    write_golden(folder, Golden(golden, graph.torch_logits(servable, golden)))
    manifest = _manifest(subject, settings, number, servable, session, pixels, folder)
    write_manifest(folder, manifest)
    return manifest


def _manifest(
    subject: Subject,
    settings: ExportSettings,
    number: int,
    servable: graph.Servable,
    session: InferenceSession,
    pixels: npt.NDArray[np.uint8],
    folder: Path,
) -> Manifest:
    tensor = input_tensor(subject.preprocessing)
    max_batch_size = Manifest.model_fields["max_batch_size"].default
    return Manifest(
        name=settings.model_name,
        version=number,
        architecture=subject.architecture,
        source=ARCHITECTURES[subject.architecture].source,
        labels=subject.labels,
        input=tensor,
        outputs=graph.OUTPUTS,
        preprocessing=subject.preprocessing,
        normalization=Normalization(mean=subject.mean, std=subject.std, where="graph"),
        parameter_count=measure.count_parameters(servable),
        macs=measure.count_macs(servable.network, (tensor.channels, tensor.height, tensor.width)),
        precision="float32",
        opset=graph.OPSET,
        training=subject.training,
        weights=subject.weights,
        evaluations=(*subject.published, *_measured(subject, session)),
        memory=cost.measure_memory(folder / MODEL_FILE, pixels[:max_batch_size]),
        model_sha256=file_sha256(folder / MODEL_FILE),
        golden_sha256=file_sha256(folder / GOLDEN_FILE),
        tools={"python": platform.python_version(), **{tool: version(tool) for tool in TOOLS}},
        created_at=datetime.now(UTC).replace(microsecond=0),
    )


def _measured(subject: Subject, session: InferenceSession) -> Iterator[Evaluation]:
    """Accuracy of the exported graph itself on the images to measure it on."""
    for name, split in subject.tests:
        yield evaluation(name, logits_of(session, split, subject.preprocessing), split.labels)


def _sample(subject: Subject) -> npt.NDArray[np.uint8]:
    """
    Images for the proof, uint8 `[N, H, W, C]`: some to measure on, spread over them and so over
    their classes; noise of many sizes where there are none.
    """
    count = max(graph.PROOF_BATCH_SIZES)
    shape = (count, *input_tensor(subject.preprocessing).item_shape)
    if not subject.tests:
        return noise(shape)
    _, split = subject.tests[0]
    indices = np.linspace(0, len(split) - 1, min(count, len(split))).astype(int)
    # The first few become the golden ones: they must not all be of one class.
    pixels = split.part(np.random.default_rng(0).permutation(indices)).pixels(subject.preprocessing)
    return np.resize(pixels, shape)


def noise(shape: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    """Images with structure of every size, from single pixels to the whole: uint8 *shape*."""
    random = np.random.default_rng(0)
    count, height, width, channels = shape
    total = np.zeros(shape)
    for cells in (2, 5, 17, max(height, width)):
        rows, columns = (np.arange(side) * cells // side for side in (height, width))
        total += random.normal(size=(count, cells, cells, channels))[:, rows[:, None], columns]
    return (128 + 32 * total).clip(0, 255).astype(np.uint8)


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
