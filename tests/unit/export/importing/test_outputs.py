from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from convoy.artifact.golden import softmax
from convoy.export.errors import GraphError
from convoy.export.importing.scores import Choice, Kind, Output, Run, choose, observe

CLASSES = 5


def random(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Numbers as logits are."""
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


LOGITS, OTHERS = random(4, CLASSES), random(4, CLASSES, seed=1)


def output(name: str, values: npt.NDArray[Any]) -> Output:
    """An output that gave *values*, one for each image."""
    return Output(name, values.shape[1:], [value[np.newaxis] for value in values])


def chosen(
    *outputs: Output, labels: int | None = None, name: str | None = None, kind: Kind | None = None
) -> Choice:
    return choose(outputs, labels, name, kind, 1e-4)


def kinds(choice: Choice) -> dict[str, str]:
    """Kind of each output that is served."""
    return {tensor.name: tensor.kind for tensor in choice.tensors}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (LOGITS, "logits"),
        (softmax(LOGITS), "probabilities"),
        (softmax(LOGITS).astype(np.float16), "probabilities"),
        (softmax(LOGITS).reshape(4, 1, 1, CLASSES), "probabilities"),
        (1 / (1 + np.exp(-LOGITS)), "logits"),
        (softmax(LOGITS) * 0.99, "logits"),
        (np.concatenate([softmax(LOGITS), OTHERS]), "logits"),
        (np.full((4, CLASSES), 0.2) + np.array([0.5, -0.5, 0, 0, 0]), "logits"),
    ],
)
def test_kind(values: npt.NDArray[Any], kind: str) -> None:
    """
    Probabilities are never negative, and sum to 1 for every single image.
    """
    assert kinds(chosen(output("y", values))) == {"y": kind}


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


def test_given_kind_is_used() -> None:
    """
    A sigmoid's probabilities of independent classes look like logits.
    """
    sigmoid = 1 / (1 + np.exp(-LOGITS))
    choice = chosen(output("y", sigmoid), kind="probabilities")
    assert kinds(choice) == {"y": "probabilities"}


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
    (found,) = observe(["y"], runs)
    assert found.shape == shape
    assert len(found.values) == 2
    scores = output("z", LOGITS)
    assert chosen(scores, found, labels=CLASSES).left_out == (() if shape else ("y",))
