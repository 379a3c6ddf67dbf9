"""Finds the output that holds the scores of the classes, and the kind of these scores.

The answers to test images decide: a graph may leave its shapes open, and names prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from convoy.artifact.golden import as_scores, expected_answers, softmax
from convoy.artifact.manifest import OutputTensor
from convoy.export.errors import GraphError

Kind = Literal["logits", "probabilities"]

SUM_TOLERANCE = 1e-3
"""Largest distance from 1 of the sum of one image's probabilities; float16 needs this much."""

_DTYPES = get_args(OutputTensor.model_fields["dtype"].annotation)


class Run(NamedTuple):
    """One test run: the number of its images, and the value of each output."""

    batch_size: int
    outputs: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """
    One output, as observed in the test runs.

    Attributes:
        shape: Shape of one item, with -1 for a dimension that varies; None if the output has not
            one item for each image, or has a type that manifests do not know.
        values: Its value for each test image in a run of its own: `[1, ...]` each.
    """

    name: str
    shape: tuple[int, ...] | None
    values: Sequence[Any]

    @property
    def dtype(self) -> str:
        """The type of its elements."""
        return str(self.values[0].dtype)

    @property
    def class_count(self) -> int:
        """The number of classes that it may hold scores of; 0 if it cannot hold scores."""
        if self.shape is None or not self.dtype.startswith("float") or -1 in self.shape:
            return 0
        count = math.prod(self.shape)
        return count if count >= 2 and count in self.shape else 0

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """The values as float32 `[N, classes]`."""
        return as_scores(np.concatenate(self.values))

    @property
    def kind(self) -> Kind:
        """`probabilities` if the values of every test image can be these, else `logits`."""
        scores = self.scores
        are_shares = (np.abs(scores.sum(axis=1) - 1) <= SUM_TOLERANCE).all()
        return "probabilities" if are_shares and (scores >= 0).all() else "logits"

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name} (nothing for each image)"
        sizes = ", ".join(["N", *("?" if size == -1 else str(size) for size in self.shape)])
        return f"{self.name} ({self.dtype} [{sizes}])"


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """
    The meaning of a graph's outputs.

    Attributes:
        kinds: Kind of the scores, by output: one output, or logits and their softmax.
        scores: Scores of the test images, as logits if there are any: `[N, classes]`.
        expected: Scores that a server must answer in each output of `kinds`: `[N, classes]`.
        tensors: Every output that a server can return.
        left_out: Names of the other outputs.
    """

    kinds: dict[str, Kind]
    scores: npt.NDArray[np.float32]
    expected: dict[str, npt.NDArray[np.float32]]
    tensors: tuple[OutputTensor, ...]
    left_out: tuple[str, ...]


def observe(names: Sequence[str], runs: Sequence[Run]) -> list[Output]:
    """Collect the values of each output from *runs*."""
    return [
        Output(
            name,
            _item_shape([(run.batch_size, run.outputs[name]) for run in runs]),
            [run.outputs[name] for run in runs if run.batch_size == 1],
        )
        for name in names
    ]


def _item_shape(batches: list[tuple[int, Any]]) -> tuple[int, ...] | None:
    for size, value in batches:
        # A map such as scikit-learn's, or a type that manifests do not know.
        if not isinstance(value, np.ndarray) or value.dtype.name not in _DTYPES:
            return None
        # Something other than one item for each image.
        if value.shape[:1] != (size,) or value.ndim != batches[0][1].ndim:
            return None
    sizes = zip(*(value.shape[1:] for _, value in batches), strict=True)
    return tuple(size[0] if len(set(size)) == 1 else -1 for size in sizes)


def choose(
    outputs: Sequence[Output],
    label_count: int | None,
    name: str | None,
    kind: Kind | None,
    tolerance: float,
) -> Choice:
    """
    Find the scores among *outputs*.

    Two outputs may hold them if one is the softmax of the other.

    Args:
        label_count: Number of classes; None if the graph decides.
        name: Output that holds the scores; None to find it.
        kind: Kind of the scores; None to find it out.
        tolerance: Largest difference between probabilities and softmax, as a share of the range.

    Raises:
        GraphError: If no output fits, or several do.
    """
    fitting = [o for o in outputs if o.class_count and label_count in (None, o.class_count)]
    named = [output for output in fitting if name in (None, output.name)]
    if not named:
        wanted = "scores" if name is None else f"output {name!r} with scores"
        raise GraphError(
            f"the graph has no {wanted} of {label_count or 'two or more'} classes; "
            f"it gives {', '.join(map(str, outputs))}"
        )
    # The first candidate holds scores. Another one may stand beside it if one of the two is the
    # other's softmax: these are logits and probabilities of the same classes.
    kinds = {named[0].name: kind or named[0].kind}
    for partner in fitting:
        if len(kinds) == 1 and _is_softmax(named[0], kinds[named[0].name], partner, tolerance):
            kinds[partner.name] = partner.kind
    # More candidates, such as auxiliary classifiers: only the user knows.
    if any(output.name not in kinds for output in named):
        raise GraphError(
            f"several outputs may be the scores: {', '.join(map(str, named))}; "
            "choose one with --output"
        )
    return _choice(outputs, kinds)


def _is_softmax(one: Output, kind: Kind, other: Output, tolerance: float) -> bool:
    """Return whether one of the two is the softmax of the other."""
    if {kind, other.kind} != {"logits", "probabilities"} or one.class_count != other.class_count:
        return False
    logits, probabilities = (one, other) if kind == "logits" else (other, one)
    expected = softmax(logits.scores)
    difference = np.abs(probabilities.scores - expected).max()
    return bool(difference <= tolerance * np.ptp(expected))


def _choice(outputs: Sequence[Output], kinds: dict[str, Kind]) -> Choice:
    by_kind = {kinds[o.name]: o.scores for o in outputs if o.name in kinds}
    scores = by_kind.get("logits", by_kind.get("probabilities"))
    assert scores is not None  # `kinds` is never empty
    return Choice(
        kinds=kinds,
        scores=scores,
        expected=expected_answers(kinds, scores),
        tensors=tuple(_tensor(o, kinds) for o in outputs if o.shape is not None),
        left_out=tuple(o.name for o in outputs if o.shape is None),
    )


def _tensor(output: Output, kinds: dict[str, Kind]) -> OutputTensor:
    return OutputTensor.model_validate(
        {
            "name": output.name,
            "kind": kinds.get(output.name, "other"),
            "dtype": output.dtype,
            "shape": output.shape,
        }
    )
