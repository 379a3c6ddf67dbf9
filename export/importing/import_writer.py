"""From a graph that was read to the files of an artifact: proof, measurements, manifest."""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime import InferenceSession
from rich.console import Console

from convoy.artifact.files import (
    GOLDEN_FILE,
    MODEL_FILE,
    file_sha256,
    write_golden,
    write_manifest,
)
from convoy.artifact.golden import GOLDEN_COUNT, Golden
from convoy.artifact.layers import Description, write_layers
from convoy.artifact.manifest import Manifest
from convoy.export import baseline
from convoy.export.describing.layer_table import describe_graph
from convoy.export.importing import reference
from convoy.export.importing.facts import Facts
from convoy.export.importing.independence import (
    check_independent,
    check_repeatable,
    find_suspects,
)
from convoy.export.importing.interpretation import find_scores, rounding
from convoy.export.importing.notes import notes
from convoy.export.importing.scores import Choice
from convoy.export.onnx.memory import measure_memory
from convoy.export.onnx.session import open_session
from convoy.export.onnx.wiring import Wiring
from convoy.export.tool_versions import tool_versions

TOOLS = ("onnx", "numpy", "pillow", "simplejpeg")
"""Packages whose versions go into the manifest, beside those of Python, convoy and ONNX Runtime."""


def write(facts: Facts, name: str, number: int, folder: Path, console: Console) -> Manifest:
    """
    Write the files into *folder*; report findings to *console*.

    Raises:
        GraphError: If ONNX Runtime cannot run the graph, or its outputs are not a classifier's.
        ProofError: If its answers prove nothing, or change with optimisations or in batches.
    """
    model = folder / MODEL_FILE
    choice = find_scores(facts, model)
    facts = replace(facts, rounding=rounding(facts, choice))
    golden = _prove(facts, choice, model, console)
    write_golden(folder, Golden(facts.images[golden], choice.scores[golden]))
    table = describe_graph(model, facts.signature.tensor, f"{name} version {number}")
    manifest = _manifest(facts, choice, table, name, number, folder)
    write_manifest(folder, manifest)
    table = replace(table, trained_parameters=manifest.parameter_count)
    write_layers(folder, table, manifest.model_sha256)
    if facts.unseen is not None:
        baseline.write_first(folder, manifest, [facts.unseen], console)
    for note in notes(facts, choice, manifest):
        console.print(note)
    return manifest


def _prove(facts: Facts, choice: Choice, model: Path, console: Console) -> npt.NDArray[np.int64]:
    """Prove that a server's session answers as the reference; returns the golden images."""
    largest, tolerance = facts.signature.max_batch_size, facts.tolerance
    session = open_session(model, name=facts.settings.file)
    _check_independence(facts, choice, model, session)
    # A server replays them in one batch, but one by one if the graph takes no more.
    count = GOLDEN_COUNT if facts.signature.is_batch_fixed else largest
    golden = reference.choose_golden(
        choice.scores, facts.given, min(count, GOLDEN_COUNT), tolerance
    )
    sizes = sorted({1, min(2, largest), largest})
    worst = reference.prove(session, facts.images, choice.expected, golden, sizes, tolerance)
    console.print(
        f"proof: with ONNX Runtime's optimisations the answers differ by {worst:.1e} of their "
        f"range at batch {', '.join(map(str, sizes))}; {tolerance:.0e} is allowed"
    )
    return golden


def _check_independence(
    facts: Facts, choice: Choice, model: Path, session: InferenceSession
) -> None:
    """Check that the scores of an image depend on this image alone, whatever is tolerated."""
    # Answers that are not numbers are refused later; differences between them mean nothing.
    if not np.isfinite(choice.scores).all():
        return
    suspects = find_suspects(Wiring(facts.source.model), choice.kinds)
    limit = facts.usual_tolerance
    # Optimisations remove some random operators, which the reference has.
    literal = open_session(model, is_optimised=False, name=facts.settings.file)
    for one in (literal, session):
        run = functools.partial(reference.run_scores, one, tuple(choice.kinds))
        check_repeatable(run, facts.images, limit, suspects)
    largest = facts.signature.max_batch_size
    if largest > 1:
        others = reference.make_neighbours(facts.signature)
        check_independent(run, facts.images, others, largest, limit, suspects)


def _manifest(
    facts: Facts, choice: Choice, table: Description, name: str, number: int, folder: Path
) -> Manifest:
    settings, source, signature = facts.settings, facts.source, facts.signature
    model = folder / MODEL_FILE
    class_count = choice.scores.shape[1]
    full_batch = np.resize(facts.images, (signature.max_batch_size, *facts.images.shape[1:]))
    return Manifest(
        name=name,
        version=number,
        architecture=settings.architecture,
        source=settings.source or source.description,
        labels=facts.labels or tuple(f"class {index}" for index in range(class_count)),
        input=signature.tensor,
        outputs=choice.tensors,
        preprocessing=signature.preprocessing,
        normalization=signature.normalization,
        max_batch_size=signature.max_batch_size,
        parameter_count=table.parameters,
        macs=table.macs,
        precision=source.precision,
        opset=source.opset,
        memory=measure_memory(model, full_batch),
        golden_tolerance=facts.tolerance,
        model_sha256=file_sha256(model),
        golden_sha256=file_sha256(folder / GOLDEN_FILE),
        tools={
            "onnxruntime": onnxruntime.__version__,  # of either package that it comes in
            **tool_versions(TOOLS),
        },
        created_at=datetime.now(UTC).replace(microsecond=0),
    )
