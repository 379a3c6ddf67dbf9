"""Finds the output that holds the scores of the classes, and the kind of these scores.

The last operators of the graph tell the kind; the answers to test images tell the rest, as a graph
may leave its shapes open, and names prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from convoy.artifact.golden import as_scores, expected_answers, softmax
from convoy.artifact.manifest import OutputTensor
from convoy.export.errors import GraphError
from convoy.export.importing.heads import UNKNOWN, Head, Kind
from convoy.export.importing.kinds import Given, check_given, decide, refuse_to_guess, sigmoid

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
        size: Numbers for each image, the same in every run; 0 if there is no such number.
        head: The operators that make it.
        is_scores: Whether it may hold the scores; another output holds them if not.
    """

    name: str
    shape: tuple[int, ...] | None
    values: Sequence[Any]
    size: int = 0
    head: Head = UNKNOWN
    is_scores: bool = True

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
    def form(self) -> Form | None:
        """The arrangement of its scores; None if it cannot hold scores."""
        if self.class_count:
            return "clean"
        if not self.size or not self.dtype.startswith("float"):
            return None
        if self.size == 1:
            return "single"
        return "lost" if self.shape is None else None

    @property
    def classes(self) -> int:
        """The number of classes that it holds scores of once it is rewritten; 0 if none."""
        sizes = {"clean": self.class_count, "lost": self.size, "single": 2, None: 0}
        return sizes[self.form]

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """The values as float32 `[N, classes]`; `[N, 1]` of one number for each image."""
        return as_scores(np.stack([value.reshape(-1) for value in self.values]))

    def __str__(self) -> str:
        if not isinstance(self.values[0], np.ndarray):
            return f"{self.name} (maps)"
        if self.shape is None:
            shape = ", ".join(map(str, self.values[0].shape))
            return f"{self.name} ({self.dtype} [{shape}] for one image, not one item for each)"
        sizes = ", ".join(["N", *("?" if size == -1 else str(size) for size in self.shape)])
        return f"{self.name} ({self.dtype} [{sizes}])"


Form = Literal["clean", "lost", "single"]
"""
`clean` scores are one number for each class of each image. The batch of `lost` ones is not their
first dimension, as after a squeeze. A `single` one is of the second of two classes.
"""


class Rewrite(NamedTuple):
    """
    Scores that the graph must give in another form before a server can return them.

    Attributes:
        output: The output that holds them.
        form: The form that they have.
        kind: Their kind; `independent-logits` need a sigmoid.
        classes: Number of the classes.
    """

    output: str
    form: Form
    kind: Given
    classes: int


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
        heads: The operators that make each output, by its name.
    """

    kinds: dict[str, Kind]
    scores: npt.NDArray[np.float32]
    expected: dict[str, npt.NDArray[np.float32]]
    tensors: tuple[OutputTensor, ...]
    left_out: tuple[str, ...]
    heads: dict[str, Head]


def observe(
    names: Sequence[str], runs: Sequence[Run], heads: Mapping[str, Head] | None = None
) -> list[Output]:
    """Collect the values of each output from *runs*."""
    outputs = []
    for name in names:
        batches = [(run.batch_size, run.outputs[name]) for run in runs]
        alone = [value for size, value in batches if size == 1]
        head = (heads or {}).get(name, UNKNOWN)
        outputs.append(Output(name, _item_shape(batches), alone, _item_size(batches), head))
    return outputs


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


def _item_size(batches: list[tuple[int, Any]]) -> int:
    if not all(isinstance(value, np.ndarray) for _, value in batches):
        return 0
    sizes = {value.size / size for size, value in batches}
    return int(sizes.pop()) if len(sizes) == 1 else 0


def choose(
    outputs: Sequence[Output],
    labels: Sequence[str] | None,
    name: str | None,
    given: Given | None,
    tolerance: float,
) -> Choice | Rewrite:
    """
    Find the scores among *outputs*.

    Two outputs may hold them if one is the softmax of the other.

    Args:
        labels: Names of the classes; None if the graph decides how many there are.
        name: Output that holds the scores; None to find it.
        given: Kind of the scores; None to find it out.
        tolerance: Largest difference between probabilities and softmax, as a share of the range.

    Raises:
        GraphError: If no output fits, several do, or the kind of the scores is not clear.
    """
    counts = {len(labels)} if labels else {o.classes for o in outputs} - {0}
    fitting = [o for o in outputs if o.is_scores and o.classes in counts]
    # One number for each image is a score only if nothing else is.
    several = [o for o in fitting if o.form != "single" or o.name == name] or fitting
    named = [output for output in several if name in (None, output.name)]
    if not named:
        raise GraphError(_none_fits(outputs, labels, name))
    # A probability before its logit, which may be any number.
    named.sort(key=lambda output: output.form == "single" and output.head.kind != "independent")
    kinds, related = _related(named[0], fitting, given, tolerance)
    # More candidates, such as auxiliary classifiers: only the user knows.
    if any(output.name not in related for output in named):
        raise GraphError(
            f"several outputs may be the scores: {', '.join(map(str, named))}; "
            "choose one with --output"
        )
    if kinds:
        return _choice(outputs, kinds)
    return _alone(outputs, named[0], labels, given)


def _none_fits(outputs: Sequence[Output], labels: Sequence[str] | None, name: str | None) -> str:
    wanted = "scores" if name is None else f"output {name!r} with scores"
    # The logits before the last activation, or before a choice, for example.
    inner = next((o.head.before for o in outputs if o.head.before), "NAME")
    return (
        f"the graph has no {wanted} of {len(labels) if labels else 'two or more'} classes; it "
        f"gives {', '.join(map(str, outputs))}. Scores are floats, [N, classes], or [N, 1] for two "
        "classes; --labels must name as many. --output also takes a tensor inside the graph, such "
        f"as --output {inner}"
    )


def _related(
    one: Output, fitting: Sequence[Output], given: Given | None, tolerance: float
) -> tuple[dict[str, Kind], set[str]]:
    """
    Return the kinds of *one* and of its softmax or sigmoid among *fitting*, or the other way round.

    The first result is empty if there is none, or if it must be rewritten; the second one has the
    names of all that were found.
    """
    alike = [o for o in fitting if o.form == one.form and o.classes == one.classes]
    for logits, squashed in (pair for o in alike if o is not one for pair in ((one, o), (o, one))):
        names = {logits.name, squashed.name}
        # Multi-label: the probabilities are the scores, as softmax would give something else.
        is_wanted = given in (None, "independent")
        if is_wanted and _is_close(squashed, sigmoid(logits.scores), tolerance):
            return {squashed.name: "independent"} if one.form == "clean" else {}, names
        kinds: dict[str, Kind] = {logits.name: "logits", squashed.name: "probabilities"}
        is_wanted = given in (None, kinds[one.name]) and one.form == "clean"
        # Probabilities of 1 and 0 are the softmax of nearly anything, such as exp(logits).
        is_wanted = is_wanted and (_vary(squashed, tolerance) or _is_argument(logits, squashed))
        if is_wanted and _is_close(squashed, softmax(logits.scores), tolerance):
            return kinds, names
    return {}, {one.name}


def _vary(output: Output, tolerance: float) -> bool:
    """Return whether the scores of an image differ from those of another one."""
    return bool(np.ptp(output.scores, axis=0).max() > tolerance * np.ptp(output.scores))


def _is_argument(logits: Output, squashed: Output) -> bool:
    """Return whether the operators show that one output is the softmax of the other."""
    return squashed.head.before in (logits.name, logits.head.value, logits.head.before)


def _is_close(found: Output, expected: npt.NDArray[np.float32], tolerance: float) -> bool:
    difference = np.abs(found.scores - expected).max()
    return bool(difference <= tolerance * np.ptp(expected))


def _alone(
    outputs: Sequence[Output], one: Output, labels: Sequence[str] | None, given: Given | None
) -> Choice | Rewrite:
    """Choose *one*, to which no other output is related, or say what must become of it first."""
    if given and np.isfinite(one.scores).all():
        check_given(str(one), one.scores, given)
    kind = given or decide(one.scores, one.head)
    if kind is None:
        raise GraphError(refuse_to_guess(str(one), one.scores, one.head, labels))
    # A number from a sum may be anything, such as an age: two labels say that it is a score.
    if one.form == "single" and kind == "logits" and not given and not labels:
        raise GraphError(
            f"output {one} has one number for each image: if it is the logit of the second of two "
            "classes, give their names with --labels, or --scores logits"
        )
    form = one.form
    assert form is not None  # `choose` has left out outputs without one
    if form != "clean" or kind == "independent-logits":
        return Rewrite(one.name, form, kind, one.classes)
    return _choice(outputs, {one.name: kind})


def _choice(outputs: Sequence[Output], kinds: dict[str, Kind]) -> Choice:
    by_kind = {kinds[o.name]: o.scores for o in outputs if o.name in kinds}
    scores = by_kind["logits"] if "logits" in by_kind else next(iter(by_kind.values()))
    return Choice(
        kinds=kinds,
        scores=scores,
        expected=expected_answers(kinds, scores),
        tensors=tuple(_tensor(o, kinds) for o in outputs if o.shape is not None),
        left_out=tuple(o.name for o in outputs if o.shape is None),
        heads={o.name: o.head for o in outputs},
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
