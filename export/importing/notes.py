"""Lines for the user: what was decided without an option, and what may surprise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convoy.artifact.manifest import Manifest
from convoy.export.importing.facts import Facts
from convoy.export.importing.independence import find_suspects
from convoy.export.importing.kinds import SUM_TOLERANCE
from convoy.export.importing.scores import Choice
from convoy.export.importing.signature import VARIABLE_BATCH
from convoy.export.onnx.wiring import Wiring

_IN_WORDS = {
    "logits": "logits",
    "probabilities": "probabilities",
    "independent": "independent probabilities of each class (multi-label: an image may be of "
    "several classes or none)",
}


def notes(facts: Facts, choice: Choice, manifest: Manifest) -> Iterator[str]:
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
