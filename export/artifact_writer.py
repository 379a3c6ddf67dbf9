"""Writes the files of an artifact for a trained network: graph, proof, measurements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
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
    Quantization,
)
from convoy.export import baseline
from convoy.export.accuracy import evaluation
from convoy.export.describing.layer_table import describe_graph
from convoy.export.errors import PrecisionError
from convoy.export.export_settings import ExportSettings
from convoy.export.onnx import graph
from convoy.export.onnx.half_precision import halve
from convoy.export.onnx.memory import measure_memory
from convoy.export.onnx.session import open_session
from convoy.export.quantization.int8_writer import record_of
from convoy.export.quantization.interface import Interface
from convoy.export.quantization.processor import choose_scheme, read_processor
from convoy.export.quantization.quantizing import CALIBRATION_COUNT, Material, quantize
from convoy.export.quantization.verification import Bounds, compare, describe, objection
from convoy.export.subject import Subject
from convoy.export.tool_versions import tool_versions
from convoy.models import ARCHITECTURES

TOOLS = (
    *("torch", "torchvision", "onnx", "onnxscript"),
    *("numpy", "pillow", "simplejpeg", "mlxtend"),
)
"""Packages whose versions go into the manifest, beside those of Python, convoy and ONNX Runtime:
all that affect the weights or the pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """
    The facts of the graph that was written into the artifact's folder.

    Attributes:
        golden: Images with the answers that the graph must give wherever it is loaded.
        tolerance: Largest drift from these answers, as a share of their range.
        evaluations: Accuracies of the graph.
        quantization: The conversion to 8 bits, if it was one.
    """

    precision: Precision
    golden: Golden
    tolerance: float
    evaluations: tuple[Evaluation, ...]
    quantization: Quantization | None = None


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
    interface = _interface(subject)
    logits = [interface.scores_of(session, test.images) for test in subject.tests]
    proven = _Proven(subject, settings, servable, folder, pixels, logits)
    written = proven.convert(console)
    write_golden(folder, written.golden)
    title = f"{settings.model_name} version {number}"
    table = describe_graph(model_path, input_tensor(subject.preprocessing), title)
    manifest = proven.manifest(number, written, table.macs)
    write_manifest(folder, manifest)
    table = replace(table, trained_parameters=manifest.parameter_count)
    write_layers(folder, table, manifest.model_sha256)
    # Images that only chose the weights resemble new images more than those that trained them.
    parts = [*filter(None, [subject.validation]), *subject.tests]
    baseline.write_first(folder, manifest, parts, console)
    return manifest


@dataclass(frozen=True, slots=True)
class _Proven:
    """
    A float32 graph that answers as its network does, in the folder of the artifact.

    Attributes:
        pixels: The images of the proof: uint8 `[N, H, W, C]`.
        logits: Its answers to each part of the test data.
    """

    subject: Subject
    settings: ExportSettings
    servable: graph.Servable
    folder: Path
    pixels: npt.NDArray[np.uint8]
    logits: list[npt.NDArray[np.float32]]

    @property
    def path(self) -> Path:
        return self.folder / MODEL_FILE

    def convert(self, console: Console) -> Graph:
        """Replace the graph by one in the precision of the settings."""
        if self.settings.precision == "float32":
            return self._keep()
        # Fewer bits: other answers, so only accuracies that are measured on this graph.
        return (
            self._halve(console) if self.settings.precision == "fp16" else self._quantize(console)
        )

    def _keep(self) -> Graph:
        # The graph is what PyTorch computes: that is the reference, and published accuracies hold.
        return Graph(
            precision="float32",
            golden=_golden(self.pixels, graph.torch_logits(self.servable, self.pixels)),
            tolerance=graph.PROOF_TOLERANCE,
            evaluations=(*self.subject.published, *_evaluations(self.subject, self.logits)),
        )

    def _halve(self, console: Console) -> Graph:
        material, interface = _material(self.subject), _interface(self.subject)
        half = self.path.with_name("half.onnx")
        halve(self.path, half, interface.batches(material.calibration))
        half.replace(self.path)
        session = open_session(self.path)
        after = [interface.scores_of(session, test.images) for test in material.tests]
        if not all(np.isfinite(scores).all() for scores in after):
            raise PrecisionError("in float16 the logits are not finite numbers")
        pairs = zip(material.tests, self.logits, after, strict=True)
        comparisons = [compare(test, interface, one, other) for test, one, other in pairs]
        if reason := objection(comparisons, _bounds(self.settings)):
            raise PrecisionError(f"the float16 graph {reason}")
        for comparison in comparisons:
            console.print(describe(comparison, "float16"))
        # Half precision is near PyTorch, which remains the reference.
        return Graph(
            precision="float16",
            golden=_golden(self.pixels, graph.torch_logits(self.servable, self.pixels)),
            tolerance=TOLERANCES["float16"],
            evaluations=_evaluations(self.subject, after),
        )

    def _quantize(self, console: Console) -> Graph:
        material, processor = _material(self.subject), read_processor()
        quantized = quantize(
            self.path,
            _interface(self.subject),
            material,
            choose_scheme(processor.features),
            _bounds(self.settings),
            console,
            before=self.logits,
        )
        record = record_of(quantized, material, processor, file_sha256(self.path))
        onnx.save(quantized.model, self.path)
        # 8 bits are another function than the network: their reference is the graph itself, without
        # ONNX Runtime's optimisations.
        return Graph(
            precision="int8",
            golden=_golden(self.pixels, graph.reference_logits(self.path, self.pixels)),
            tolerance=TOLERANCES["int8"],
            evaluations=_evaluations(self.subject, [*quantized.scores]),
            quantization=record,
        )

    def manifest(self, number: int, written: Graph, macs: int | None) -> Manifest:
        """Return the manifest of the version *number*, whose graph is *written*."""
        subject = self.subject
        max_batch_size = Manifest.model_fields["max_batch_size"].default
        return Manifest(
            name=self.settings.model_name,
            version=number,
            architecture=subject.architecture,
            source=ARCHITECTURES[subject.architecture].source,
            labels=subject.labels,
            input=input_tensor(subject.preprocessing),
            outputs=graph.OUTPUTS,
            preprocessing=subject.preprocessing,
            normalization=_normalization(subject),
            # Not those of the graph: it has batch norms folded into the convolutions before them.
            parameter_count=sum(weights.numel() for weights in subject.network.parameters()),
            macs=macs,
            precision=written.precision,
            opset=graph.OPSET,
            training=subject.training,
            skipped_images=subject.skipped_images,
            weights=subject.weights,
            evaluations=written.evaluations,
            quantization=written.quantization,
            memory=measure_memory(self.path, self.pixels[:max_batch_size]),
            golden_tolerance=written.tolerance,
            model_sha256=file_sha256(self.path),
            golden_sha256=file_sha256(self.folder / GOLDEN_FILE),
            tools={
                "onnxruntime": onnxruntime.__version__,  # of either package that it comes in
                **tool_versions(TOOLS),
            },
            created_at=datetime.now(UTC).replace(microsecond=0),
        )


def _material(subject: Subject) -> Material:
    """Return the images of a conversion: some to find ranges with, and the test data."""
    images = subject.calibration
    assert images is not None  # the settings refuse fewer bits without data
    count = min(CALIBRATION_COUNT, len(images))
    indices = np.random.default_rng(0).choice(len(images), count, replace=False)
    return Material(
        data=f"{subject.tests[0].name.removesuffix(', test part')}, training part",
        calibration=images.part(indices.tolist()),
        tests=subject.tests,
    )


def _interface(subject: Subject) -> Interface:
    return Interface(
        input=input_tensor(subject.preprocessing),
        normalization=_normalization(subject),
        preprocessing=subject.preprocessing,
        scores=graph.OUTPUTS[0],
        max_batch_size=Manifest.model_fields["max_batch_size"].default,
    )


def _normalization(subject: Subject) -> Normalization:
    return Normalization(mean=subject.mean, std=subject.std, where="graph")


def _bounds(settings: ExportSettings) -> Bounds:
    # The classes of all images are known.
    return Bounds(max_accuracy_loss=settings.max_accuracy_loss, min_agreement=0)


def _golden(pixels: npt.NDArray[np.uint8], logits: npt.NDArray[np.float32]) -> Golden:
    clearest = select_clearest(logits, GOLDEN_COUNT)
    return Golden(pixels[clearest], logits[clearest])


def _evaluations(subject: Subject, logits: list[npt.NDArray[np.float32]]) -> tuple[Evaluation, ...]:
    """Return the accuracy of the exported graph itself on each part of the test data."""
    return tuple(
        evaluation(test, answers) for test, answers in zip(subject.tests, logits, strict=True)
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
