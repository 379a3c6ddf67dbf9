"""Writes the files of an artifact for a trained network: graph, proof, measurements."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from rich.console import Console

from convoy.artifact.files import (
    GOLDEN_FILE,
    MODEL_FILE,
    file_sha256,
    write_golden,
    write_manifest,
)
from convoy.artifact.golden import GOLDEN_COUNT, TOLERANCES, Golden, select_clearest
from convoy.artifact.layers import write_layers
from convoy.artifact.manifest import (
    Evaluation,
    InputTensor,
    Manifest,
    Normalization,
    Precision,
    Preprocessing,
)
from convoy.export.describing.layer_table import describe_graph
from convoy.export.export_settings import ExportSettings
from convoy.export.onnx import graph
from convoy.export.onnx.evaluation import evaluation, logits_of
from convoy.export.onnx.memory import measure_memory
from convoy.export.onnx.precision import (
    CALIBRATION_COUNT,
    ReducedPrecision,
    compare,
    convert,
)
from convoy.export.onnx.session import open_session
from convoy.export.subject import Subject
from convoy.models import ARCHITECTURES

TOOLS = (
    *("convoy", "torch", "torchvision", "onnx", "onnxscript"),
    *("numpy", "pillow", "simplejpeg", "mlxtend"),
)
"""Packages whose versions go into the manifest, beside Python's and ONNX Runtime's: all that affect
the weights or the pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """
    The facts of the graph that was written into the artifact's folder.

    Attributes:
        golden: Images with the answers that the graph must give wherever it is loaded.
        tolerance: Largest drift from these answers, as a share of their range.
        evaluations: Accuracies of the graph.
    """

    precision: Precision
    golden: Golden
    tolerance: float
    evaluations: tuple[Evaluation, ...]


def write(
    subject: Subject, settings: ExportSettings, number: int, folder: Path, console: Console
) -> Manifest:
    """
    Export *subject*, prove, evaluate and measure it; write the files into *folder*.

    Args:
        number: Version of the artifact.

    Raises:
        ProofError: If the graph does not answer as the network does.
        PrecisionError: If the requested precision loses too much accuracy.
        DataError: If an image of the test data cannot be read.
    """
    servable = graph.Servable(subject.network, subject.mean, subject.std).eval()
    model_path = folder / MODEL_FILE
    graph.export_onnx(servable, input_tensor(subject.preprocessing), model_path)
    session = open_session(model_path)
    pixels = _sample(subject)
    worst = graph.prove(session, servable, pixels)
    console.print(
        f"proof: ONNX Runtime and PyTorch differ by {worst:.1e} of the logits' range at batch "
        f"{', '.join(map(str, graph.PROOF_BATCH_SIZES))}; {graph.PROOF_TOLERANCE:.0e} is allowed"
    )
    logits = [logits_of(session, test.images, subject.preprocessing) for test in subject.tests]
    # float32: the graph is what PyTorch computes, so published accuracies hold for it.
    # PyTorch is the reference of a float32 graph; weights as published keep published accuracies.
    if settings.precision == "float32":
        golden = _golden(pixels, graph.torch_logits(servable, pixels))
        measured = (*subject.published, *_evaluations(subject, logits))
        written = Graph(
            precision="float32",
            golden=golden,
            tolerance=graph.PROOF_TOLERANCE,
            evaluations=measured,
        )
    # Fewer bits: other answers, so only accuracies that are measured on this graph.
    else:
        written = _reduce(subject, settings, model_path, servable, pixels, logits, console)
    write_golden(folder, written.golden)
    title = f"{settings.model_name} version {number}"
    table = describe_graph(model_path, input_tensor(subject.preprocessing), title)
    manifest = _manifest(subject, settings, number, written, table.macs, pixels, folder)
    write_manifest(folder, manifest)
    table = replace(table, trained_parameters=manifest.parameter_count)
    write_layers(folder, table, manifest.model_sha256)
    return manifest


def _reduce(
    subject: Subject,
    settings: ExportSettings,
    model_path: Path,
    servable: graph.Servable,
    pixels: npt.NDArray[np.uint8],
    logits: list[npt.NDArray[np.float32]],
    console: Console,
) -> Graph:
    """Replace the float32 graph, whose *logits* are given, by one in fewer bits."""
    chosen: ReducedPrecision = "float16" if settings.precision == "fp16" else "int8"
    calibration, spec = subject.calibration, subject.preprocessing
    assert calibration is not None  # the settings refuse fewer bits without data
    count = min(CALIBRATION_COUNT, len(calibration))
    indices = np.random.default_rng(0).choice(len(calibration), count, replace=False)
    reduced = model_path.with_name("reduced.onnx")
    convert(model_path, reduced, chosen, calibration.part(indices.tolist()).pixels(spec))
    reduced.replace(model_path)
    session = open_session(model_path)
    after = [logits_of(session, test.images, spec) for test in subject.tests]
    for test, one, other in zip(subject.tests, logits, after, strict=True):
        loss = compare(chosen, one, other, test.images.labels, settings.max_accuracy_loss)
        console.print(
            f"{chosen}: accuracy {loss.converted:.4f} on {loss.images} images of {test.name}, "
            f"{loss.float32:.4f} in float32"
        )
    # A half graph must answer as PyTorch does. An int8 graph is another function than the network,
    # so its reference is the graph itself, without ONNX Runtime's optimisations.
    # Half precision is near PyTorch. 8 bits are not: their reference is the graph itself.
    if chosen == "float16":
        expected = graph.torch_logits(servable, pixels)
    else:
        expected = graph.reference_logits(model_path, pixels)
    return Graph(
        precision=chosen,
        golden=_golden(pixels, expected),
        tolerance=TOLERANCES[chosen],
        evaluations=_evaluations(subject, after),
    )


def _golden(pixels: npt.NDArray[np.uint8], logits: npt.NDArray[np.float32]) -> Golden:
    clearest = select_clearest(logits, GOLDEN_COUNT)
    return Golden(pixels[clearest], logits[clearest])


def _evaluations(subject: Subject, logits: list[npt.NDArray[np.float32]]) -> tuple[Evaluation, ...]:
    """Return the accuracy of the exported graph itself on each part of the test data."""
    return tuple(
        evaluation(test, answers) for test, answers in zip(subject.tests, logits, strict=True)
    )


def _manifest(
    subject: Subject,
    settings: ExportSettings,
    number: int,
    written: Graph,
    macs: int | None,
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
        # Not those of the graph: it has batch norms folded into the convolutions before them.
        parameter_count=sum(weights.numel() for weights in subject.network.parameters()),
        macs=macs,
        precision=written.precision,
        opset=graph.OPSET,
        training=subject.training,
        skipped_images=subject.skipped_images,
        weights=subject.weights,
        evaluations=written.evaluations,
        memory=measure_memory(folder / MODEL_FILE, pixels[:max_batch_size]),
        golden_tolerance=written.tolerance,
        model_sha256=file_sha256(folder / MODEL_FILE),
        golden_sha256=file_sha256(folder / GOLDEN_FILE),
        tools={
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,  # of either package that it comes in
            **{tool: version(tool) for tool in TOOLS},
        },
        created_at=datetime.now(UTC).replace(microsecond=0),
    )


def _sample(subject: Subject) -> npt.NDArray[np.uint8]:
    """
    Return images for the proof: uint8 `[N, H, W, C]`.

    They are spread over the test data, and so over its classes; without test data they are noise.
    """
    count = max(graph.PROOF_BATCH_SIZES)
    shape = (count, *input_tensor(subject.preprocessing).item_shape)
    # Public weights without data to measure on: no image is known.
    if not subject.tests:
        return noise(shape)
    images = subject.tests[0].images
    indices = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    return np.resize(images.part(indices.tolist()).pixels(subject.preprocessing), shape)


def noise(shape: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    """Return random images with structures from single pixels to the whole: uint8 *shape*."""
    random = np.random.default_rng(0)
    count, height, width, channels = shape
    total = np.zeros(shape)
    for cells in (2, 5, 17, max(height, width)):
        rows, columns = (np.arange(side) * cells // side for side in (height, width))
        total += random.normal(size=(count, cells, cells, channels))[:, rows[:, None], columns]
    return (128 + 32 * total).clip(0, 255).astype(np.uint8)


def input_tensor(spec: Preprocessing) -> InputTensor:
    """Return the graph's input for images that were preprocessed by *spec*."""
    return InputTensor(
        name=graph.INPUT_NAME,
        dtype="uint8",
        layout="NHWC",
        channels=1 if spec.channels == 1 else 3,
        height=spec.height,
        width=spec.width,
    )
