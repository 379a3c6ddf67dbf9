"""From a graph that was read to the files of an artifact: proof, measurements, manifest."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
from convoy.artifact.golden import GOLDEN_COUNT, TOLERANCES, Golden
from convoy.artifact.layers import Description, write_layers
from convoy.artifact.manifest import Manifest
from convoy.export.describing.layer_table import describe_graph
from convoy.export.errors import GraphError
from convoy.export.importing import reference
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.scores import Choice, choose, observe
from convoy.export.importing.signature import VARIABLE_BATCH, Signature
from convoy.export.onnx.memory import measure_memory
from convoy.export.onnx.session import open_session
from convoy.export.onnx.source import Source

TOOLS = ("convoy", "onnx", "numpy", "pillow", "simplejpeg")
"""Packages whose versions go into the manifest, beside Python's and ONNX Runtime's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """
    The material of an import.

    Attributes:
        labels: Names of the classes; None if they are to be numbered.
        advice: Remedy to add to an error if labels or options were found, not given.
        images: Test images: `[N, ...]` as the graph takes them.
        given: How many of them, the first ones, were given by the user.
    """

    settings: ImportSettings
    source: Source
    signature: Signature
    labels: tuple[str, ...] | None
    advice: str
    images: npt.NDArray[Any]
    given: int

    @property
    def tolerance(self) -> float:
        """Largest difference from the golden answers, as a share of their range."""
        usual = (TOLERANCES[self.source.precision], TOLERANCES.get(self.signature.tensor.dtype, 0))
        return self.settings.golden_tolerance or max(usual)


def write(facts: Facts, name: str, number: int, folder: Path, console: Console) -> Manifest:
    """
    Write the files into *folder*; report findings to *console*.

    Raises:
        GraphError: If ONNX Runtime cannot run the graph, or its outputs are no classifier's.
        ProofError: If its answers prove nothing, or change with optimisations or in batches.
    """
    model = folder / MODEL_FILE
    facts.source.write(model)
    choice = _understand(facts, model)
    golden = _prove(facts, choice, model, console)
    write_golden(folder, Golden(facts.images[golden], choice.scores[golden]))
    table = describe_graph(model, facts.signature.tensor, f"{name} version {number}")
    manifest = _manifest(facts, choice, table, name, number, folder)
    write_manifest(folder, manifest)
    table = replace(table, trained_parameters=manifest.parameter_count)
    write_layers(folder, table, manifest.model_sha256)
    for note in _notes(facts, choice, manifest):
        console.print(note)
    return manifest


def _understand(facts: Facts, model: Path) -> Choice:
    """Find the scores by what the reference answers."""
    settings = facts.settings
    session = open_session(model, is_optimised=False, name=settings.file)
    runs = reference.reference_runs(session, facts.images, facts.signature.max_batch_size)
    outputs = observe([output.name for output in session.get_outputs()], runs)
    count = len(facts.labels) if facts.labels else None
    with np.errstate(all="ignore"):  # answers that are no numbers are refused by `choose_golden`
        try:
            return choose(outputs, count, settings.output, settings.scores, facts.tolerance)
        except GraphError as error:  # the labels may belong to another graph
            raise GraphError(f"{error}{facts.advice}") from error


def _prove(facts: Facts, choice: Choice, model: Path, console: Console) -> npt.NDArray[np.int64]:
    """Prove that a server's session answers as the reference; returns the golden images."""
    largest, tolerance = facts.signature.max_batch_size, facts.tolerance
    # A server replays them in one batch, but one by one if the graph takes no more.
    count = GOLDEN_COUNT if facts.signature.is_batch_fixed else largest
    golden = reference.choose_golden(
        choice.scores, facts.given, min(count, GOLDEN_COUNT), tolerance
    )
    session = open_session(model, name=facts.settings.file)
    sizes = sorted({1, min(2, largest), largest})
    worst = reference.prove(session, facts.images, choice.expected, golden, sizes, tolerance)
    console.print(
        f"proof: with ONNX Runtime's optimisations the answers differ by {worst:.1e} of their "
        f"range at batch {', '.join(map(str, sizes))}; {tolerance:.0e} is allowed"
    )
    return golden


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
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,  # of either package that it comes in
            **{tool: version(tool) for tool in TOOLS},
        },
        created_at=datetime.now(UTC).replace(microsecond=0),
    )


def _notes(facts: Facts, choice: Choice, manifest: Manifest) -> Iterator[str]:
    """Yield what was decided without an option, and what may surprise."""
    if facts.labels is None:
        last = manifest.labels[-1]
        yield f"labels: none given (--labels) or found; the classes are class 0 to {last}"
    yield from _notes_on_outputs(facts, choice)
    if own := facts.signature.own_normalization:
        yield (
            f"normalisation: the graph gets pixels of 0 to 255, as it normalises them itself "
            f"({own}); --normalization server gives it 0 to 1"
        )
    if facts.signature.is_batch_fixed:
        yield f"batch: the graph takes one image at a time ({VARIABLE_BATCH})"
    # The hash of the graph is no longer that of the user's file.
    if facts.source.is_changed:
        yield "graph: written anew, as weights in other files or open dimensions were filled in"
    if facts.source.objection:
        yield f"onnx.checker: {facts.source.objection}; ONNX Runtime takes the graph all the same"
    # A graph of unknown operators, or one that only pools, is worth a remark.
    for name, count in (("parameters", manifest.parameter_count), ("MACs", manifest.macs)):
        if not count:
            yield f"{name}: none found"


def _notes_on_outputs(facts: Facts, choice: Choice) -> Iterator[str]:
    for name, kind in choice.kinds.items():
        how = "as --scores says" if facts.settings.scores else "by its values for test images"
        yield f"scores: output {name} holds {kind}, {how}"
    # Of a sigmoid: the server would take the softmax of what are probabilities already.
    if set(choice.kinds.values()) == {"logits"} and np.abs(choice.scores - 0.5).max() <= 0.5:
        yield (
            "scores: they lie between 0 and 1; if each is a probability by itself, "
            "--scores probabilities leaves them as they are"
        )
    if choice.left_out:
        yield (
            f"left out: {', '.join(choice.left_out)}: no tensor of one item per image, "
            "or of no type that a manifest knows"
        )
