from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from convoy.artifact.golden import softmax
from convoy.artifact.manifest import OutputTensor
from convoy.export.errors import GraphError
from convoy.export.onnx.session import open_session
from convoy.export.onnx.temperature import (
    as_logits,
    cross_entropy,
    fit_temperature,
    fold_temperature,
)
from tests.harness import tiny


def test_temperature_is_found() -> None:
    """
    Classes that are drawn with the probabilities of a known temperature give that temperature.
    """
    random = np.random.default_rng(0)
    logits = random.normal(size=(20_000, 4)) * 3
    for temperature in (0.5, 1.0, 2.5):
        shares = softmax(logits / temperature).cumsum(axis=1)
        truth = (random.random((len(logits), 1)) > shares).sum(axis=1).clip(0, 3)
        found = fit_temperature(logits, truth)
        assert found is not None
        assert found == pytest.approx(temperature, rel=0.05)
        # It is the best one: its neighbours are worse.
        best = cross_entropy(logits, truth, found)
        assert best < min(cross_entropy(logits, truth, found * f) for f in (0.97, 1.03))


@pytest.mark.parametrize("truth", [[0, 1], [1, 0]])
def test_no_temperature(truth: list[int]) -> None:
    """
    Answers that are all right, or worse than chance, have no best temperature.
    """
    assert fit_temperature(np.array([[9.0, 0.0], [0.0, 9.0]]), np.array(truth)) is None


def test_probabilities_as_logits() -> None:
    """
    Logits are made of probabilities so that their softmax gives these again, also of zero.
    """
    shares = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    logits = as_logits(shares, "probabilities")
    assert softmax(logits) == pytest.approx(shares)
    assert as_logits(shares, "logits") is shares


def answers(path: Path, *names: str) -> list[np.ndarray]:
    images = np.concatenate([tiny.pixels(first) for first in (0, 1, 2, 8)])
    found: list[np.ndarray] = open_session(path).run(list(names), {"image": images})
    return found


def test_fold_into_logits(tmp_path: Path) -> None:
    """
    Logits are divided by the temperature, and the probabilities are their softmax.
    """
    onnx.save(tiny.graph(), tmp_path / "before.onnx")
    fold_temperature(tmp_path / "before.onnx", tmp_path / "after.onnx", tiny.manifest(), 2.5)
    names = ("logits", "probabilities")
    before, _ = answers(tmp_path / "before.onnx", *names)
    logits, probabilities = answers(tmp_path / "after.onnx", *names)
    assert logits == pytest.approx(before / 2.5)
    assert probabilities == pytest.approx(softmax(before / 2.5), abs=1e-6)


def test_fold_twice(tmp_path: Path) -> None:
    """
    A graph that has a temperature gets another one: the logits are divided by both.
    """
    paths = [tmp_path / f"{number}.onnx" for number in range(4)]
    onnx.save(tiny.graph(), paths[0])
    for source, target, temperature in zip(paths, paths[1:], (2.5, 0.5, 4.0), strict=False):
        fold_temperature(source, target, tiny.manifest(), temperature)
    before, _ = answers(paths[0], "logits", "probabilities")
    logits, probabilities = answers(paths[3], "logits", "probabilities")
    assert logits == pytest.approx(before / (2.5 * 0.5 * 4))
    assert probabilities == pytest.approx(softmax(logits), abs=1e-6)


def test_invalid_graph(tmp_path: Path) -> None:
    """
    The error of ONNX's checker is one line for the user.
    """
    model = tiny.graph()
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "a")
    with pytest.raises(GraphError, match="the graph is not valid with the temperature: No Op"):
        fold_temperature(tmp_path / "a", tmp_path / "b", tiny.manifest(), 2.0)


def without_logits(*last: onnx.NodeProto) -> onnx.ModelProto:
    """The tiny graph with an output of probabilities only, made by the nodes *last*."""
    model = tiny.graph()
    del model.graph.output[:], model.graph.node[-2:]
    model.graph.node.extend(last)
    model.graph.output.append(
        helper.make_tensor_value_info("shares", TensorProto.FLOAT, ["N", tiny.CLASSES])
    )
    return model


ONLY_SHARES = {"outputs": (OutputTensor(name="shares", kind="probabilities"),)}


def test_fold_into_a_softmax(tmp_path: Path) -> None:
    """
    A graph without logits gets the temperature before its softmax.
    """
    model = without_logits(
        helper.make_node("Softmax", ["logits"], ["soft"], axis=1),
        helper.make_node("Identity", ["soft"], ["shares"]),
    )
    onnx.save(model, tmp_path / "before.onnx")
    manifest = tiny.manifest(**ONLY_SHARES)
    fold_temperature(tmp_path / "before.onnx", tmp_path / "after.onnx", manifest, 4.0)
    (before,) = answers(tmp_path / "before.onnx", "shares")
    (after,) = answers(tmp_path / "after.onnx", "shares")
    expected = softmax(as_logits(before.astype(np.float64), "probabilities") / 4)
    assert after == pytest.approx(expected, abs=1e-5)
    assert after.max() < 0.8 < before.max()
    fold_temperature(tmp_path / "after.onnx", tmp_path / "twice.onnx", manifest, 0.25)
    (twice,) = answers(tmp_path / "twice.onnx", "shares")
    assert twice == pytest.approx(before, abs=1e-5)


def test_probabilities_without_a_softmax(tmp_path: Path) -> None:
    """
    Probabilities that something else makes are refused.
    """
    onnx.save(without_logits(helper.make_node("Sigmoid", ["logits"], ["shares"])), tmp_path / "a")
    with pytest.raises(GraphError, match="come from Sigmoid, not from a softmax"):
        fold_temperature(tmp_path / "a", tmp_path / "b", tiny.manifest(**ONLY_SHARES), 2.0)
