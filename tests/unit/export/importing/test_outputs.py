from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from convoy.artifact.golden import softmax
from convoy.export.errors import GraphError
from convoy.export.importing.heads import UNKNOWN, Head
from convoy.export.importing.kinds import Given, sigmoid
from convoy.export.importing.scores import Choice, Output, Rewrite, Run, choose, observe

CLASSES = 5


def random(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Numbers as logits are."""
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


LOGITS, OTHERS = random(4, CLASSES), random(4, CLASSES, seed=1)


def output(name: str, values: npt.NDArray[Any], head: Head = UNKNOWN) -> Output:
    """An output that gave *values*, one for each image."""
    items = [value[np.newaxis] for value in values]
    return Output(name, values.shape[1:], items, values[0].size, head)


def found(
    *outputs: Output, labels: int | None = None, name: str | None = None, kind: Given | None = None
) -> Choice | Rewrite:
    names = [f"label {index}" for index in range(labels)] if labels else None
    return choose(outputs, names, name, kind, 1e-4)


def chosen(*outputs: Output, **options: Any) -> Choice:
    choice = found(*outputs, **options)
    assert isinstance(choice, Choice)
    return choice


def kinds(choice: Choice) -> dict[str, str]:
    """Kind of each output that is served."""
    return {tensor.name: tensor.kind for tensor in choice.tensors}


SHARES = softmax(LOGITS)


@pytest.mark.parametrize(
    ("values", "operators", "kind"),
    [
        # The operators decide.
        (LOGITS, "logits", "logits"),
        (SHARES, "probabilities", "probabilities"),
        (SHARES.astype(np.float16), "probabilities", "probabilities"),
        (SHARES * 0.87, "probabilities", "probabilities"),
        (SHARES * 1.02, "probabilities", "probabilities"),
        (np.round(SHARES * 255) / 255, "probabilities", "probabilities"),
        (sigmoid(LOGITS), "independent", "independent"),
        (sigmoid(LOGITS), "logits", "logits"),
        (np.stack([1 - SHARES[:, 0], SHARES[:, 0]], 1), "independent", "probabilities"),
        # They leave it open, and the values decide.
        (LOGITS, None, "logits"),
        (SHARES, None, "probabilities"),
        (SHARES.reshape(4, 1, 1, CLASSES), None, "probabilities"),
        (np.concatenate([SHARES, OTHERS]), None, "logits"),
        (np.abs(LOGITS) * 5, None, "logits"),
    ],
)
def test_kind(values: npt.NDArray[Any], operators: Any, kind: str) -> None:
    """
    The last operators decide; where they leave it open, values decide that can be one kind only.
    """
    assert kinds(chosen(output("y", values, Head(operators, "Last y")))) == {"y": kind}


@pytest.mark.parametrize(
    ("values", "operators"),
    [
        (sigmoid(LOGITS), None),
        (SHARES * 0.99, None),
        (SHARES * 100, None),
        (SHARES, "logits"),
        (LOGITS, "probabilities"),
        (SHARES + 0.5, "probabilities"),
        (LOGITS, "independent"),
    ],
)
def test_unclear_kind_is_asked_for(values: npt.NDArray[Any], operators: Any) -> None:
    """
    Nothing is guessed: the message shows what each kind makes of the first image.
    """
    with pytest.raises(GraphError) as refused:
        chosen(output("y", values, Head(operators, "Last y")), labels=CLASSES)
    message = str(refused.value)
    best = int(values[0].argmax())
    assert "output y (float32 [N, 5]) ends in Last y" in message
    assert f"--scores logits gives label {best} {softmax(values)[0].max():.4f}" in message
    is_possible = values.min() >= 0 and values.max() <= 1
    assert (f"image) gives label {best} {values[0].max():.4f}" in message) == is_possible
    assert ("They sum to 100 for every image" in message) == bool(values.max() > 20)
    assert kinds(chosen(output("y", values), kind="logits")) == {"y": "logits"}


@pytest.mark.parametrize("kind", ["probabilities", "independent"])
def test_given_kind_must_be_possible(kind: Any) -> None:
    """
    The user may know better than the operators, but no probability is negative.
    """
    with pytest.raises(GraphError, match=rf"--scores {kind}: output y .* not probabilities"):
        chosen(output("y", LOGITS), kind=kind)
    assert kinds(chosen(output("y", sigmoid(LOGITS)), kind=kind)) == {"y": kind}


def test_softmax_along_a_wrong_axis() -> None:
    """
    Scores that are 1 for every class are named with their operator and the tensor before it.
    """
    head = Head("probabilities", "Softmax s", before="z")
    with pytest.raises(GraphError, match=r"Softmax s works along .* one element.*--output z"):
        chosen(output("y", np.ones((4, CLASSES)), head))


def test_logits_and_their_sigmoid() -> None:
    """
    The probabilities of a multi-label network are its scores; the logits are served beside them.
    """
    both = [output("p", sigmoid(LOGITS)), output("z", LOGITS)]
    for outputs in (both, both[::-1]):
        assert kinds(chosen(*outputs)) == {"p": "independent", "z": "other"}


@pytest.mark.parametrize(
    ("values", "operators", "options", "kind"),
    [
        (sigmoid(LOGITS[:, :1]), "independent", {}, "independent"),
        (LOGITS[:, :1], "logits", {"labels": 2}, "logits"),
        (LOGITS[:, :1], None, {"kind": "logits"}, "logits"),
        (sigmoid(LOGITS[:, 0]), "independent", {"labels": 2}, "independent"),
    ],
)
def test_one_number_is_of_two_classes(
    values: npt.NDArray[Any], operators: Any, options: dict[str, Any], kind: Any
) -> None:
    """
    A sigmoid, or a logit, for each image: the graph must give both classes.
    """
    rewrite = found(output("y", values, Head(operators)), **options)
    assert rewrite == Rewrite("y", "single", kind, 2)


def test_one_number_that_may_be_anything() -> None:
    """
    A sum is a logit only if somebody says so; other numbers are not taken where scores are.
    """
    one = output("y", LOGITS[:, :1], Head("logits", "Gemm y"))
    with pytest.raises(GraphError, match=r"y \(float32 \[N, 1\]\) has one number.*--labels"):
        chosen(one)
    with pytest.raises(GraphError, match="of 3 classes; it gives y"):
        chosen(one, labels=3)
    assert kinds(chosen(one, output("z", OTHERS))) == {"y": "other", "z": "logits"}


def test_given_kind_gets_a_sigmoid() -> None:
    """
    Logits of independent labels become probabilities in the graph.
    """
    rewrite = found(output("y", LOGITS), kind="independent-logits")
    assert rewrite == Rewrite("y", "clean", "independent-logits", CLASSES)


def test_batch_that_was_lost() -> None:
    """
    Numbers whose count follows the batch are scores without their first dimension.
    """
    z = LOGITS[0]
    for runs in (
        [Run(1, {"y": z}), Run(2, {"y": LOGITS[:2]})],  # squeeze()
        [Run(1, {"y": z[None]}), Run(2, {"y": LOGITS[:2].reshape(1, -1)})],  # view(1, -1)
        [Run(1, {"y": z})],
    ):
        assert found(*observe(["y"], runs)) == Rewrite("y", "lost", "logits", CLASSES)
    # The same numbers for any batch belong to no image.
    with pytest.raises(GraphError, match="not one item for each"):
        found(*observe(["y"], [Run(1, {"y": z}), Run(2, {"y": z})]))


def test_logits_and_their_softmax() -> None:
    """
    Both are scores, in whatever order; the logits are what golden answers are about.
    """
    both = [output("p", softmax(LOGITS)), output("z", LOGITS)]
    for outputs in (both, both[::-1]):
        choice = chosen(*outputs)
        assert kinds(choice) == {"p": "probabilities", "z": "logits"}
        assert (choice.scores == LOGITS).all()
        assert choice.expected["p"] == pytest.approx(softmax(LOGITS))


def test_probabilities_of_other_logits() -> None:
    """
    Probabilities that are not the softmax of the logits beside them cannot both be served as
    scores: the server would find that they disagree.
    """
    outputs = output("p", softmax(LOGITS[:, ::-1])), output("z", LOGITS)
    with pytest.raises(GraphError, match=r"several outputs may be the scores: p .*, z .*--output"):
        chosen(*outputs)
    assert kinds(chosen(*outputs, name="p")) == {"p": "probabilities", "z": "other"}
    assert kinds(chosen(*outputs, name="z")) == {"p": "other", "z": "logits"}


def test_auxiliary_classifiers() -> None:
    """
    One of a GoogLeNet's three logits is chosen, and keeps its softmax.
    """
    outputs = output("z", LOGITS), output("aux", OTHERS), output("p", softmax(LOGITS))
    with pytest.raises(GraphError, match="choose one with --output"):
        chosen(*outputs)
    expected = {"z": "logits", "aux": "other", "p": "probabilities"}
    assert kinds(chosen(*outputs, name="z")) == expected
    assert kinds(chosen(*outputs, name="p")) == expected


def test_labels_tell_scores_from_features() -> None:
    """
    The number of labels decides between outputs of different widths.
    """
    outputs = output("features", random(4, 7)), output("z", LOGITS)
    with pytest.raises(GraphError, match="several outputs"):
        chosen(*outputs)
    assert kinds(chosen(*outputs, labels=CLASSES)) == {"features": "other", "z": "logits"}
    assert kinds(chosen(*outputs, labels=7)) == {"features": "logits", "z": "other"}
    with pytest.raises(GraphError, match=r"no scores of 6 classes; it gives features \(float32"):
        chosen(*outputs, labels=6)


@pytest.mark.parametrize(
    ("shape", "class_count"),
    [((5,), 5), ((5, 1, 1), 5), ((1, 1, 5), 5), ((5, 2), 0), ((1,), 0), ((), 0), ((0,), 0)],
)
def test_shapes_of_scores(shape: tuple[int, ...], class_count: int) -> None:
    """
    Scores have one value per class, with any number of ones around.
    """
    assert output("y", random(4, *shape)).class_count == class_count
    assert output("y", random(4, *shape).astype(np.int64)).class_count == 0


@pytest.mark.parametrize(
    ("one", "another", "two", "shape"),
    [
        (random(1, 3), random(1, 3), random(2, 3), (3,)),
        (random(1, 3, 6), random(1, 4, 6), random(2, 4, 6), (-1, 6)),
        (random(1, 3), random(1, 3), random(1, 6), None),
        (random(1, 3), random(1, 3), random(1, 3), None),
        (np.float32(3), np.float32(3), np.float32(3), None),
        (random(1, 3), random(1, 3, 1), random(2, 3), None),
        ([{1: 0.5}], [{1: 0.5}], [{1: 0.5}, {1: 0.4}], None),
        (*(np.array(["cat"] * count, object) for count in (1, 1, 2)), None),
    ],
)
def test_shapes_are_observed(one: Any, another: Any, two: Any, shape: Any) -> None:
    """
    A dimension that varies is -1; what is not one item per image in every batch has no shape.
    """
    runs = [Run(1, {"y": one}), Run(1, {"y": another}), Run(2, {"y": two})]
    (seen,) = observe(["y"], runs)
    assert seen.shape == shape
    assert len(seen.values) == 2
    scores = output("z", LOGITS)
    assert chosen(scores, seen, labels=CLASSES).left_out == (() if shape else ("y",))
