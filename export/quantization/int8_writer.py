"""Writes the files of an artifact for a converted graph: proof, measurements, manifest."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnxruntime import InferenceSession

from convoy.artifact.files import (
    GOLDEN_FILE,
    MODEL_FILE,
    Artifact,
    file_sha256,
    write_golden,
    write_manifest,
)
from convoy.artifact.golden import TOLERANCES, Golden, as_scores, expected_answers, replay
from convoy.artifact.layers import write_layers
from convoy.artifact.manifest import Evaluation, Manifest, Quantization
from convoy.export.accuracy import evaluation
from convoy.export.describing.layer_table import describe_graph
from convoy.export.errors import ProofError
from convoy.export.onnx.memory import measure_memory
from convoy.export.onnx.session import open_session
from convoy.export.quantization.processor import Processor
from convoy.export.quantization.quantizing import Material, Quantized
from convoy.export.tool_versions import tool_versions

TOOLS = ("onnx", "numpy", "pillow", "simplejpeg")
"""Packages whose versions go into the manifest, beside those of Python, convoy and ONNX Runtime."""


def write(
    source: Artifact,
    quantized: Quantized,
    material: Material,
    processor: Processor,
    name: str,
    number: int,
    folder: Path,
) -> Manifest:
    """
    Write the files of *name*, version *number*, into *folder*.

    Args:
        source: The artifact of the float32 graph.
        processor: The processor that *quantized* was compared on.

    Raises:
        ProofError: If the graph does not answer as it does without optimisations.
    """
    model_path = folder / MODEL_FILE
    onnx.save(quantized.model, model_path)
    write_golden(folder, _prove(source, model_path))
    before = source.manifest
    table = describe_graph(model_path, before.input, f"{name} version {number}")
    largest = before.max_batch_size
    batch = np.resize(source.golden.images, (largest, *source.golden.images.shape[1:]))
    opset = next(o.version for o in quantized.model.opset_import if o.domain in ("", "ai.onnx"))
    fields = {
        "name": name,
        "version": number,
        "precision": "int8",
        "opset": opset,
        "evaluations": tuple(_evaluations(quantized, material)),
        "quantization": record_of(quantized, material, processor, before.model_sha256, before),
        "memory": measure_memory(model_path, batch),
        "golden_tolerance": TOLERANCES["int8"],
        "model_sha256": file_sha256(model_path),
        "golden_sha256": file_sha256(folder / GOLDEN_FILE),
        "tools": {
            "onnxruntime": onnxruntime.__version__,  # of either package that it comes in
            **tool_versions(TOOLS),
        },
        "created_at": datetime.now(UTC).replace(microsecond=0),
    }
    manifest = Manifest.model_validate(before.model_dump() | fields)
    write_manifest(folder, manifest)
    table = replace(table, trained_parameters=manifest.parameter_count)
    write_layers(folder, table, manifest.model_sha256)
    return manifest


def record_of(
    quantized: Quantized,
    material: Material,
    processor: Processor,
    source_sha256: str,
    source: Manifest | None = None,
) -> Quantization:
    """
    Return the manifest's record of a conversion.

    Args:
        source_sha256: SHA-256 of the float32 graph.
        source: The manifest of the float32 graph, if it was published.
    """
    return Quantization(
        source_model=source.name if source else None,
        source_version=source.version if source else None,
        source_sha256=source_sha256,
        scheme=quantized.scheme,
        calibration_data=material.data,
        calibration_images=len(material.calibration),
        range_growth=round(quantized.growth.mean, 4),
        largest_range_growth=round(quantized.growth.largest, 4),
        float32_layers=quantized.float32_layers,
        comparisons=quantized.comparisons,
        processor=processor.name,
        processor_features=processor.features,
    )


def _evaluations(quantized: Quantized, material: Material) -> Iterator[Evaluation]:
    """Yield the accuracies of the converted graph; those of the float32 graph are not its own."""
    for test, scores in zip(material.tests, quantized.scores, strict=True):
        if test.is_labelled:
            yield evaluation(test, scores)


def _prove(source: Artifact, model_path: Path) -> Golden:
    """
    Prove that a server's session answers as the graph taken literally; return the golden answers.

    An int8 graph is another function than the float32 one, so its reference is the graph itself,
    without ONNX Runtime's optimisations.
    """
    images, manifest = source.golden.images, source.manifest
    literal = open_session(model_path, is_optimised=False)
    # One by one: the batch of the graph may be fixed.
    scores = np.concatenate(
        [as_scores(_run(literal, image[np.newaxis])[manifest.scores.name]) for image in images]
    )
    proven = filter(None, (manifest.scores, manifest.probabilities))
    expected = expected_answers({output.name: output.kind for output in proven}, scores)
    everything = np.arange(len(images))
    together = [everything] if manifest.max_batch_size > 1 else []
    run = functools.partial(_run, open_session(model_path))
    for drift in replay(run, images, expected, [*everything[:, np.newaxis], *together]):
        if drift.exceeds(TOLERANCES["int8"]) or not drift.same_classes:
            raise ProofError(
                f"at batch {drift.batch_size} {drift.output} of the golden images differ by "
                f"{drift.share:.1e} of their range from those without optimisations, or a class "
                f"does; {TOLERANCES['int8']:.0e} is allowed. Make the float32 version again with "
                "golden images whose class is clear: convoy import --golden"
            )
    return Golden(images, scores)


def _run(session: InferenceSession, batch: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {session.get_inputs()[0].name: batch})
    return dict(zip(names, values, strict=True))
