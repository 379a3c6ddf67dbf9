"""The scores of a graph, found by test runs, after which it is written in its final form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from convoy.export.errors import GraphError
from convoy.export.importing import reference
from convoy.export.importing.facts import Facts
from convoy.export.importing.heads import read_head
from convoy.export.importing.kinds import Given
from convoy.export.importing.not_finite import check_finite
from convoy.export.importing.outputs import rounding_step
from convoy.export.importing.rewriting import declare, rewrite
from convoy.export.importing.scores import Choice, Output, Rewrite, choose, observe
from convoy.export.onnx.session import open_session
from convoy.export.onnx.wiring import Wiring

_COARSEST = 0.25
"""Limit on what the quantisation of scores may excuse, as a share of their range."""


def find_scores(facts: Facts, model: Path) -> Choice:
    """Write the graph to *model*, with its scores in a form that a server can return."""
    name, kind = facts.settings.output, facts.settings.scores
    name = facts.outputs.stand_ins.get(name, name) if name else None
    while True:
        facts.source.write(model)
        outputs = _observe(facts, model)
        with np.errstate(all="ignore"):  # answers that are not numbers are refused later
            found = _choose(facts, outputs, name, kind)
        if isinstance(found, Rewrite):
            name, kind = rewrite(facts.source, found)
            facts.outputs.added[name] = _made_of(found, facts.labels)
            continue
        check_finite(facts, found)
        if _show_logits(facts, found):
            (name,) = found.kinds  # its logits are found beside it
        else:
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


def rounding(facts: Facts, choice: Choice) -> float:
    """
    Return one and a half steps of quantised scores, as a share of their range.

    A sum in another order may end one step away.
    """
    wiring = Wiring(facts.source.model)
    steps = (rounding_step(wiring, name) for name in choice.kinds)
    span = float(np.ptp(choice.scores))
    return min(1.5 * max(steps) / span, _COARSEST) if span > 0 else 0
