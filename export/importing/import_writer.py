"""From a graph that was read to the files of an artifact: proof, measurements, manifest."""

from __future__ import annotations

import functools
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
from onnx import TensorProto
from onnxruntime import InferenceSession
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
from convoy.export.importing.heads import read_head
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.independence import (
    check_independent,
    check_repeatable,
    find_suspects,
)
from convoy.export.importing.kinds import SUM_TOLERANCE, Given
from convoy.export.importing.outputs import Outputs, rounding_step
from convoy.export.importing.rewriting import declare, rewrite
from convoy.export.importing.scores import Choice, Output, Rewrite, choose, observe
from convoy.export.importing.signature import VARIABLE_BATCH, Signature
from convoy.export.onnx.memory import measure_memory
from convoy.export.onnx.session import open_session
from convoy.export.onnx.source import Source
from convoy.export.onnx.wiring import Wiring

TOOLS = ("convoy", "onnx", "numpy", "pillow", "simplejpeg")
"""Packages whose versions go into the manifest, beside Python's and ONNX Runtime's."""


_COARSEST = 0.25
"""Limit on what the quantisation of scores may excuse, as a share of their range."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """
    The material of an import.

    Attributes:
        outputs: The graph's outputs, as they were completed.
        labels: Names of the classes; None if they are to be numbered.
        advice: Remedy to add to an error if labels or options were found, not given.
        images: Test images: `[N, ...]` as the graph takes them.
        given: How many of them, the first ones, were given by the user.
        rounding: Difference that the quantisation of the scores makes, as a share of their range.
    """

    settings: ImportSettings
    source: Source
    signature: Signature
    outputs: Outputs
    labels: tuple[str, ...] | None
    advice: str
    images: npt.NDArray[Any]
    given: int
    rounding: float = 0

    @property
    def tolerance(self) -> float:
        """Largest difference from the golden answers, as a share of their range."""
        return self.settings.golden_tolerance or self.usual_tolerance

    @property
    def usual_tolerance(self) -> float:
        """The same for the graph's type of numbers, without regard to --golden-tolerance."""
        usual = [TOLERANCES[self.source.precision], TOLERANCES.get(self.signature.tensor.dtype, 0)]
        # Scores that are rounded to float16 at the end.
        elements = {o.type.tensor_type.elem_type for o in self.source.model.graph.output}
        half = TOLERANCES["float16"] if TensorProto.FLOAT16 in elements else 0
        return max(*usual, half, self.rounding)


def write(facts: Facts, name: str, number: int, folder: Path, console: Console) -> Manifest:
    """
    Write the files into *folder*; report findings to *console*.

    Raises:
        GraphError: If ONNX Runtime cannot run the graph, or its outputs are no classifier's.
        ProofError: If its answers prove nothing, or change with optimisations or in batches.
    """
    model = folder / MODEL_FILE
    choice = _understand(facts, model)
    facts = replace(facts, rounding=_rounding(facts, choice))
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
    """Write the graph to *model*, with its scores in a form that a server can return."""
    name, kind = facts.settings.output, facts.settings.scores
    name = facts.outputs.stand_ins.get(name, name) if name else None
    while True:
        facts.source.write(model)
        outputs = _observe(facts, model)
        with np.errstate(all="ignore"):  # answers that are no numbers are refused later
            found = _choose(facts, outputs, name, kind)
        if isinstance(found, Rewrite):
            name, kind = rewrite(facts.source, found)
            facts.outputs.added[name] = _made_of(found, facts.labels)
        elif not _show_logits(facts, found):
            break
    declare(facts.source, outputs)
    facts.source.write(model)
    return found


def _choose(
    facts: Facts, outputs: list[Output], name: str | None, kind: Given | None
) -> Choice | Rewrite:
    try:
        return choose(outputs, facts.labels, name, kind, facts.tolerance)
    except GraphError as error:  # the labels may belong to another graph
        raise GraphError(f"{error}{facts.advice}") from error


def _made_of(plan: Rewrite, labels: tuple[str, ...] | None) -> str:
    reason = f"{plan.output} as [N, {plan.classes}]"
    if plan.form != "single":
        return reason
    first, second = labels or ("class 0", "class 1")
    return f"{reason}, p for {second} and 1 - p for {first}"


def _show_logits(facts: Facts, found: Choice) -> bool:
    """Add the logits as an output if probabilities alone prove nothing; return whether it was."""
    (name, kind), *others = found.kinds.items()
    are_alike = not reference.tell_apart(found.scores, found.scores, facts.tolerance)
    # A softmax of large logits gives 1 and 0, for all images perhaps.
    if others or kind != "probabilities" or not are_alike:
        return False
    return facts.outputs.add_inner(
        facts.source, found.heads[name].before, f"the logits, as {name} is alike for all images"
    )


def _observe(facts: Facts, model: Path) -> list[Output]:
    """Return the outputs as the reference gives them, without those that others stand in for."""
    session = open_session(model, is_optimised=False, name=facts.settings.file)
    runs = reference.reference_runs(session, facts.images, facts.signature.max_batch_size)
    names = [output.name for output in session.get_outputs()]
    wiring = Wiring(facts.source.model)
    heads = {name: read_head(wiring, name) for name in names}
    return [
        replace(output, is_scores=output.name not in facts.outputs.stand_ins)
        for output in observe(names, runs, heads)
    ]


def _rounding(facts: Facts, choice: Choice) -> float:
    """Return one and a half steps of quantised scores: a sum in another order takes one more."""
    wiring = Wiring(facts.source.model)
    steps = (rounding_step(wiring, name) for name in choice.kinds)
    span = float(np.ptp(choice.scores))
    return min(1.5 * max(steps) / span, _COARSEST) if span > 0 else 0


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
    # Answers that are no numbers are refused later; differences between them mean nothing.
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
    elif facts.labels is facts.outputs.labels:
        yield f"labels: those in the graph, {', '.join(facts.labels[:3])} and so on"
    yield from _notes_on_outputs(facts, choice)
    if own := facts.signature.own_normalization:
        yield (
            f"normalisation: the graph gets pixels of 0 to 255, as it normalises them itself "
            f"({own}); --normalization server gives it 0 to 1"
        )
    if facts.signature.is_batch_fixed:
        yield f"batch: the graph takes one image at a time ({VARIABLE_BATCH})"
    if training := find_suspects(Wiring(facts.source.model), choice.kinds).training:
        yield (
            f"batch: {', '.join(training[:3])}: each image is normalised by its own statistics, "
            "not by those of the training, which an export in eval mode has (PyTorch: model.eval())"
        )
    # The hash of the graph is no longer that of the user's file.
    if facts.source.is_changed:
        yield "graph: written anew, as weights, open dimensions or outputs were filled in"
    if facts.source.objection:
        yield f"onnx.checker: {facts.source.objection}; ONNX Runtime takes the graph all the same"
    # A graph of unknown operators, or one that only pools, is worth a remark.
    for name, count in (("parameters", manifest.parameter_count), ("MACs", manifest.macs)):
        if count == 0:
            yield f"{name}: none found"


def _notes_on_outputs(facts: Facts, choice: Choice) -> Iterator[str]:
    for name, kind in choice.kinds.items():
        head = choice.heads[name]
        operator = head.operator if head.kind else ""
        by_graph = f"by its operator {operator}" if operator else "by its values for test images"
        how = "as --scores says" if facts.settings.scores else by_graph
        yield f"scores: output {name} holds {_IN_WORDS[kind]}, {how}"
        sums = choice.expected[name].sum(axis=1)
        if kind == "probabilities" and np.abs(sums - 1).max() > SUM_TOLERANCE:
            yield (
                f"scores: they sum to {sums.min():.2f} to {sums.max():.2f} for test images, and "
                "are served as the graph gives them"
            )
    for name, reason in facts.outputs.added.items():
        yield f"output {name} was made: {reason}"
    removed = [f"{name} ({reason})" for name, reason in facts.outputs.removed.items()]
    if left_out := [*choice.left_out, *removed]:
        yield (
            f"left out: {', '.join(left_out)}: no tensor of one item per image, "
            "or of no type that a manifest knows"
        )


_IN_WORDS = {
    "logits": "logits",
    "probabilities": "probabilities",
    "independent": "independent probabilities of each class (multi-label: an image may be of "
    "several classes or none)",
}
