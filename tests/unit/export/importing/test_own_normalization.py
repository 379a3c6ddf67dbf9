from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from convoy.artifact.preprocess import image_to_input, preprocess
from convoy.export.errors import GraphError
from convoy.export.importing.own_normalization import find_whole_pixels
from convoy.export.onnx.wiring import Wiring
from tests.harness import foreign
from tests.harness.images import encode, gradient

MEANS = [123.675, 116.28, 103.53]


def node(operator: str, *operands: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, operands, [f"{operands[0]}'"], **attributes)


def graph(nodes: Sequence[NodeProto], constants: dict[str, Any]) -> onnx.ModelProto:
    """The usual classifier, with *nodes* between the input `pixels` and its first node."""
    made = foreign.classifier()
    made.graph.node[0].input[0] = nodes[-1].output[0]
    body = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*nodes, *body])
    made.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, np.float32), name)
        for name, value in constants.items()
    )
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return made


@pytest.mark.parametrize(
    ("nodes", "constants", "operator"),
    [
        ([node("Div", "pixels", "c")], {"c": 255}, "Div"),
        ([node("Mul", "pixels", "c")], {"c": 1 / 127.5}, "Mul"),
        (
            [node("Mul", "pixels", "c"), node("Sub", "pixels'", "one")],
            {"c": 1 / 127.5, "one": 1},
            "Mul",
        ),
        ([node("Sub", "pixels", "c")], {"c": np.reshape(MEANS, (1, 3, 1, 1))}, "Sub"),
        ([node("Add", "pixels", "c")], {"c": [-127.5]}, "Add"),
        (
            [
                node("Cast", "pixels", to=TensorProto.FLOAT),
                node("Transpose", "pixels'", perm=[0, 1, 3, 2]),
                node("Div", "pixels''", "c"),
            ],
            {"c": 255},
            "Div",
        ),
        (
            [node("BatchNormalization", "pixels", "s", "b", "m", "v")],
            {"s": [1] * 3, "b": [0] * 3, "m": MEANS, "v": [3364] * 3},
            "BatchNormalization",
        ),
        (
            [node("Scaler", "pixels", domain="ai.onnx.ml", offset=[127.5], scale=[1 / 127.5])],
            {},
            "Scaler",
        ),
        # For pixels of 0 to 1, or of anything that the server makes of them.
        ([node("Sub", "pixels", "c")], {"c": np.reshape([0.485] * 3, (1, 3, 1, 1))}, None),
        ([node("Mul", "pixels", "c"), node("Sub", "pixels'", "d")], {"c": 2, "d": 1}, None),
        ([node("Div", "pixels", "c")], {"c": [[[0.229]]]}, None),
        ([node("Sub", "c", "pixels")], {"c": 255}, None),
        ([node("Identity", "pixels")], {}, None),
    ],
)
def test_first_operators(
    nodes: Sequence[NodeProto], constants: dict[str, Any], operator: str | None
) -> None:
    """
    Constants that make no sense for pixels of 0 to 1 show that a graph takes 0 to 255.
    """
    found = find_whole_pixels(Wiring(graph(nodes, constants)), "pixels")
    assert found is None if operator is None else str(found).startswith(f"{operator} ")


IMAGENET = {"m": np.reshape([0.485, 0.456, 0.406], (3, 1, 1)), "d": np.full((3, 1, 1), 0.225)}


@pytest.mark.parametrize(
    ("nodes", "constants", "is_found"),
    [
        ([node("Sub", "pixels", "m"), node("Div", "pixels'", "d")], IMAGENET, True),
        ([node("Mul", "pixels", "c"), node("Sub", "pixels'", "d")], {"c": 2, "d": 1}, True),
        # Inception's own scale for pixels that are normalised for other networks.
        (
            [node("Mul", "pixels", "c"), node("Add", "pixels'", "d")],
            {"c": 0.229 / 0.5, "d": (0.485 - 0.5) / 0.5},
            False,
        ),
        (
            [node("BatchNormalization", "pixels", "s", "b", "m", "v")],
            {"s": [1] * 3, "b": [0] * 3, "m": [0.01] * 3, "v": [1] * 3},
            False,
        ),
    ],
)
def test_fractions_are_normalised_once(
    tmp_path: Path, nodes: Sequence[NodeProto], constants: dict[str, Any], is_found: bool
) -> None:
    """
    A graph that normalises pixels of 0 to 1 gets these, and no mean of the user's besides.
    """
    file = foreign.save(graph(nodes, constants), tmp_path / "own.onnx")
    artifact, _ = foreign.run(file, tmp_path)
    assert artifact.manifest.normalization.where == "server"
    if is_found:
        with pytest.raises(GraphError, match=r"normalises pixels of 0 to 1 \((Div|Sub) pixels''\)"):
            foreign.run(file, tmp_path, mean=(0.485,), std=(0.225,))
    else:
        foreign.run(file, tmp_path, mean=(0.485,), std=(0.225,))


def test_graph_that_normalises_gets_whole_pixels(tmp_path: Path) -> None:
    """
    Without a word of the user, the server gives it pixels of 0 to 255, and says why.
    """
    made = graph([node("Div", "pixels", "c")], {"c": 255})
    artifact, told = foreign.run(foreign.save(made, tmp_path / "own.onnx"), tmp_path)
    assert artifact.manifest.normalization.where == "graph"
    assert "normalises them itself (Div pixels')" in told
    image = encode(gradient())
    pixels = preprocess(image, artifact.manifest.preprocessing)
    assert (image_to_input(image, artifact.manifest) == pixels.transpose(2, 0, 1)).all()


def test_normalising_twice_is_refused(tmp_path: Path) -> None:
    """
    A mean beside a graph's own is an error, unless the user says that both are meant or that the
    graph gets pixels of 0 to 255 all the same.
    """
    made = graph([node("Div", "pixels", "c")], {"c": 255})
    file = foreign.save(made, tmp_path / "own.onnx")
    half = {"mean": (0.5,), "std": (0.5,)}
    with pytest.raises(GraphError, match=r"\(Div pixels'\).*leave them out, or add --norm"):
        foreign.run(file, tmp_path, **half)
    both, _ = foreign.run(file, tmp_path, normalization="server", **half)
    assert both.manifest.normalization.where == "server"
    whole, _ = foreign.run(file, tmp_path, mean=(0,), std=(0.00392156862745098,))
    assert whole.manifest.normalization.where == "server"
