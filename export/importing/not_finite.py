"""Scores that are no finite numbers: which operator or weight they come from, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import EncodeError
from onnx import ValueInfoProto

from convoy.export.errors import GraphError, ProofError
from convoy.export.importing import reference
from convoy.export.importing.facts import Facts
from convoy.export.importing.scores import Choice
from convoy.export.onnx.session import open_session
from convoy.export.onnx.wiring import Wiring, called


def check_finite(facts: Facts, found: Choice) -> None:
    """
    Check that the scores of all test images are finite.

    Raises:
        ProofError: If one is not; the message names the output and the first operator or weight.
    """
    failed = np.flatnonzero(~np.isfinite(found.scores).all(axis=1))
    if not len(failed):
        return
    name = next(iter(found.kinds))
    values = _all_values(facts, facts.images[failed[:1]])
    before = found.heads[name].before
    inner = (
        f", such as --output {before}" if before in values and _is_finite(values[before]) else ""
    )
    operator, weight = _origin(facts, values)
    remedy = (
        f"Export the graph with finite numbers in weight {weight}, such as -100 in a mask"
        if weight
        else "If pixels are too large for the graph, change --mean, --std or --normalization; if "
        "its numbers are too large for float16, export it in float32"
    )
    raise ProofError(
        f"the scores in output {name} are not finite for {len(failed)} of {len(found.scores)} test "
        f"images ({_values(found.scores[failed])}){operator}. {remedy}; or give --output with a "
        f"tensor before that{inner}"
    )


def _values(scores: npt.NDArray[np.float32]) -> str:
    """Name the kinds of numbers that are not finite."""
    return ", ".join(sorted({str(value) for value in scores[~np.isfinite(scores)]}))


def _origin(facts: Facts, values: Mapping[str, Any]) -> tuple[str, str]:
    """Name the operator that makes the first number that is not finite, and its weight if it is."""
    bad = {name for name, value in values.items() if not _is_finite(value)}
    weights = Wiring(facts.source.model)
    for node in facts.source.model.graph.node:
        if bad & set(node.output) and not bad & set(node.input):
            held = (name for name in node.input if not _is_finite(weights.constant(name)))
            return f", first at {called(node)}", next(held, "")
    return "", ""


def _all_values(facts: Facts, images: npt.NDArray[np.generic]) -> Mapping[str, Any]:
    """Run the graph with every value as an output; return none if ONNX Runtime refuses that."""
    model = onnx.ModelProto()
    model.CopyFrom(facts.source.model)
    given = {output.name for output in model.graph.output}
    made = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(ValueInfoProto(name=name) for name in made if name not in given)
    try:
        session = open_session(model.SerializeToString(), is_optimised=False)
        return reference.reference_runs(session, images, max_batch_size=1)[0].outputs
    except (GraphError, EncodeError):  # a value that cannot be an output, or more than 2 GB
        return {}


def _is_finite(value: Any) -> bool:
    is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return not is_float or bool(np.isfinite(value).all())
