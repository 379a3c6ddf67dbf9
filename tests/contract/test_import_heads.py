"""Import finds the scores behind any end of a graph, and the service answers with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convoy.artifact.files import Artifact
from convoy.artifact.golden import TOLERANCES, softmax
from convoy.artifact.preprocess import image_to_input
from convoy.export.errors import GraphError, ProofError
from convoy.service.runtime.device import Device
from convoy.service.runtime.session import Session
from convoy.service.serving.top_k import top_k
from tests.harness import foreign
from tests.harness.foreign import labels
from tests.harness.images import encode, gradient

FLOAT = TensorProto.FLOAT
CPU = Device(policy="cpu", cores=1)
IMAGES = [encode(gradient()), encode(gradient().rotate(90)), encode(gradient().rotate(180))]
Numbers = npt.NDArray[Any]


class End(NamedTuple):
    """
    An end of a graph.

    Attributes:
        expected: The probabilities that a client must get, of logits `[N, 5]`.
        tolerance: Largest difference from them.
    """

    nodes: list[NodeProto]
    outputs: dict[str, Any]
    constants: dict[str, Any]
    expected: Callable[[Numbers], Numbers]
    options: Mapping[str, Any] = MappingProxyType({})
    tolerance: float = 1e-5
    arguments: Mapping[str, Any] = MappingProxyType({})


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node; names are separated by blanks."""
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def sigmoid(logits: Numbers) -> Numbers:
    return 1 / (1 + np.exp(-logits))


def both(logits: Numbers) -> Numbers:
    """Return 1 - p and p, the sigmoid of the first logit alone."""
    return np.stack([1 - sigmoid(logits[:, 0]), sigmoid(logits[:, 0])], axis=1)


def in_steps(logits: Numbers) -> Numbers:
    """Softmax in 256 steps, as QuantizeLinear makes it."""
    return np.clip(np.round(softmax(logits) * 256), 0, 255) / 256


SOFT = node("Softmax", "logits", "soft", axis=1)
SCALE = {"scale": np.float32(1 / 256), "zero": np.uint8(0)}
QUANTIZE = node("QuantizeLinear", "soft scale zero", "bytes")
FIRST = node("Gather", "logits index", "one", axis=1)
INDEX, NO_AXIS = {"index": np.array([0])}, {"index": np.array(0)}
NAMES = ["cat", "dog", "bird", "fish", "cow"]
MAPS = helper.make_sequence_type_proto(
    helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(FLOAT, []))
)
LINEAR = next(one for one in foreign.classifier().graph.initializer if one.name == "linear")
SQUARES = [
    node("Mul", "logits logits", "square"),
    node("ReduceSum", "square axis", "sum", keepdims=1),
    node("Div", "square sum", "y"),
]
"""Shares of something else than exponentials."""
ARGMAX = node("ArgMax", "soft", "best", axis=1, keepdims=0)


def condition() -> list[NodeProto]:
    """PyTorch's way to write `squeeze` of a dimension of open size."""
    bodies = [
        helper.make_graph(
            [node("Squeeze", "soft axes", name)],
            name,
            [],
            [helper.make_tensor_value_info(name, FLOAT, None)],
        )
        for name in ("yes", "no")
    ]
    return [
        node("Softmax", "map", "soft", axis=1),
        helper.make_node("If", ["true"], ["y"], then_branch=bodies[0], else_branch=bodies[1]),
    ]


ENDS = {
    "softmax": End([SOFT], {"soft": FLOAT}, {}, softmax),
    "log-softmax": End([node("LogSoftmax", "logits", "y", axis=1)], {"y": FLOAT}, {}, softmax),
    "exp of log-softmax": End(
        [node("LogSoftmax", "logits", "log", axis=1), node("Exp", "log", "y")],
        {"y": FLOAT},
        {},
        softmax,
    ),
    "softmax of a map": End(
        [node("Softmax", "map", "soft", axis=1), node("Flatten", "soft", "y")],
        {"y": FLOAT},
        {},
        softmax,
    ),
    "softmax in a condition": End(
        condition(), {"y": FLOAT}, {"axes": np.array([2, 3]), "true": np.array(True)}, softmax
    ),
    "softmax written out": End(
        [
            node("ReduceMax", "logits", "most", axes=[1]),
            node("Sub", "logits most", "less"),
            node("Exp", "less", "powers"),
            node("ReduceSum", "powers axis", "sum"),
            node("Div", "powers sum", "y"),
        ],
        {"y": FLOAT},
        {"axis": np.array([1])},
        softmax,
    ),
    "softmax written out, less the maximum": End(
        [
            node("ReduceMax", "logits", "most", axes=[1], keepdims=1),
            node("Sub", "logits most", "less"),
            node("Exp", "less", "e"),
            node("ReduceSum", "e axis", "sum", keepdims=1),
            node("Div", "e sum", "y"),
        ],
        {"y": FLOAT},
        {"axis": np.array([1])},
        softmax,
    ),
    "softmax written out, times a reciprocal": End(
        [
            node("Exp", "logits", "e"),
            node("ReduceSum", "e axis", "sum", keepdims=1),
            node("Reciprocal", "sum", "part"),
            node("Mul", "e part", "y"),
        ],
        {"y": FLOAT},
        {"axis": np.array([1])},
        softmax,
    ),
    "softmax written out, whose logits are large": End(
        [
            node("Exp", "logits", "e"),
            node("ReduceSum", "e axis", "sum", keepdims=1),
            node("Div", "e sum", "y"),
        ],
        {"y": FLOAT},
        {"axis": np.array([1])},
        lambda logits: softmax(logits + 10 * np.eye(5)[0]),
        arguments={"bias": 10},
    ),
    "log-softmax written out": End(
        [
            node("Exp", "logits", "e"),
            node("ReduceSum", "e axis", "sum", keepdims=1),
            node("Log", "sum", "log"),
            node("Sub", "logits log", "y"),
        ],
        {"y": FLOAT},
        {"axis": np.array([1])},
        softmax,
    ),
    "softmax with an epsilon, in a logarithm": End(
        [SOFT, node("Add", "soft tiny", "sum"), node("Log", "sum", "y")],
        {"y": FLOAT},
        {"tiny": np.float32(1e-7)},
        softmax,
    ),
    "softmax with a temperature": End(
        [node("Div", "logits t", "cool"), node("Softmax", "cool", "y", axis=1)],
        {"y": FLOAT},
        {"t": np.float32(2.5)},
        lambda logits: softmax(logits / 2.5),
    ),
    "softmax, identity, cast and reshape": End(
        [
            node("Identity", "logits", "same"),
            node("Softmax", "same", "soft", axis=-1),
            node("Cast", "soft", "double", to=TensorProto.DOUBLE),
            node("Cast", "double", "float", to=FLOAT),
            node("Reshape", "float shape", "y"),
        ],
        {"y": FLOAT},
        {"shape": np.array([-1, 5])},
        softmax,
    ),
    "softmax without its first class": End(
        [SOFT, node("Slice", "soft one five one", "y")],
        {"y": FLOAT},
        {"one": np.array([1]), "five": np.array([5])},
        lambda logits: softmax(logits)[:, 1:],
    ),
    "softmax in another order": End(
        [
            SOFT,
            node("Slice", "soft zero two one", "a"),
            node("Slice", "soft two five one", "b"),
            node("Concat", "b a", "y", axis=1),
        ],
        {"y": FLOAT},
        {name: np.array([n]) for name, n in (("zero", 0), ("one", 1), ("two", 2), ("five", 5))},
        lambda logits: softmax(logits)[:, [2, 3, 4, 0, 1]],
    ),
    "sigmoid as exp(x) / (1 + exp(x))": End(
        [node("Exp", "logits", "e"), node("Add", "e unit", "sum"), node("Div", "e sum", "y")],
        {"y": FLOAT},
        {"unit": np.float32(1)},
        sigmoid,
    ),
    "logits without a class": End(
        [node("Where", "known logits least", "y")],
        {"y": FLOAT},
        {"known": np.array([[True, False, True, True, True]]), "least": np.float32(-100)},
        lambda logits: softmax(np.where(np.eye(5)[1], -100, logits)),
    ),
    "list of tensors": End(
        [SOFT, node("SequenceConstruct", "soft", "y")],
        {"y": helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))},
        {},
        softmax,
    ),
    "bfloat16": End(
        [SOFT, node("Cast", "soft", "y", to=TensorProto.BFLOAT16)],
        {"y": TensorProto.BFLOAT16},
        {},
        softmax,
    ),
    "clipped": End(
        [SOFT, node("Clip", "soft least most", "y")],
        {"y": FLOAT},
        {"least": np.float32(1e-7), "most": np.float32(1 - 1e-7)},
        softmax,
    ),
    "ensemble": End(
        [SOFT, node("Add", "soft soft", "sum"), node("Mul", "sum half", "y")],
        {"y": FLOAT},
        {"half": np.float32(0.5)},
        softmax,
    ),
    "quantised": End(
        [SOFT, QUANTIZE, node("DequantizeLinear", "bytes scale zero", "y")],
        {"y": FLOAT},
        SCALE,
        in_steps,
    ),
    "integers with a scale": End([SOFT, QUANTIZE], {"bytes": TensorProto.UINT8}, SCALE, in_steps),
    "integer logits with a scale": End(
        [node("QuantizeLinear", "logits scale zero", "bytes"), node("Identity", "bytes", "y")],
        {"y": TensorProto.INT8},
        {"scale": np.float32(0.25), "zero": np.int8(3)},
        lambda z: softmax((np.clip(np.round(z * 4) + 3, -128, 127) - 3) / 4),
    ),
    "percentages": End(
        [SOFT, node("Mul", "soft hundred", "y")],
        {"y": FLOAT},
        {"hundred": np.float32(100)},
        softmax,
    ),
    "whole bytes": End(
        [SOFT, node("Mul", "soft most", "wide"), node("Cast", "wide", "y", to=TensorProto.UINT8)],
        {"y": TensorProto.UINT8},
        {"most": np.float32(255)},
        softmax,
    ),
    "float16": End(
        [node("Cast", "logits", "y", to=TensorProto.FLOAT16)],
        {"y": TensorProto.FLOAT16},
        {},
        softmax,
        tolerance=5e-3,
    ),
    "float16 softmax": End(
        [SOFT, node("Cast", "soft", "y", to=TensorProto.FLOAT16)],
        {"y": TensorProto.FLOAT16},
        {},
        softmax,
        tolerance=1e-3,
    ),
    "double": End(
        [node("Cast", "logits", "y", to=TensorProto.DOUBLE)],
        {"y": TensorProto.DOUBLE},
        {},
        softmax,
    ),
    "squeezed": End([node("Squeeze", "logits", "y")], {"y": FLOAT}, {}, softmax),
    "squeezed, batch of 1": End(
        [node("Squeeze", "logits", "y")], {"y": FLOAT}, {}, softmax, {}, 1e-5, {"batch": 1}
    ),
    "view(1, -1)": End(
        [SOFT, node("Reshape", "soft shape", "y")],
        {"y": FLOAT},
        {"shape": np.array([1, -1])},
        softmax,
    ),
    "strings and maps": End(
        [
            SOFT,
            ARGMAX,
            helper.make_node(
                "ZipMap", ["soft"], ["loss"], domain="ai.onnx.ml", classlabels_strings=NAMES
            ),
            helper.make_node(
                "LabelEncoder",
                ["best"],
                ["classLabel"],
                domain="ai.onnx.ml",
                keys_int64s=[1, 0, 2, 3, 4],
                values_strings=["dog", "cat", "bird", "fish", "cow"],
            ),
        ],
        {"classLabel": TensorProto.STRING, "loss": MAPS},
        {},
        softmax,
    ),
    "label by tensors": End(
        [
            SOFT,
            ARGMAX,
            helper.make_node(
                "LabelEncoder",
                ["best"],
                ["label"],
                domain="ai.onnx.ml",
                keys_tensor=numpy_helper.from_array(np.array([1, 0, 2, 3, 4])),
                values_tensor=numpy_helper.from_array(
                    np.array(["dog", "cat", "bird", "fish", "cow"], object)
                ),
                default_tensor=numpy_helper.from_array(np.array(["?"], object)),
            ),
        ],
        {"label": TensorProto.STRING},
        {},
        softmax,
    ),
    "label from a table": End(
        [SOFT, ARGMAX, node("Gather", "names best", "label")],
        {"label": TensorProto.STRING},
        {"names": np.array(NAMES, object)},
        softmax,
    ),
    "classifier of scikit-learn": End(
        [
            helper.make_node(
                "LinearClassifier",
                ["features"],
                ["label", "scores"],
                domain="ai.onnx.ml",
                classlabels_strings=NAMES,
                coefficients=numpy_helper.to_array(LINEAR).ravel().tolist(),
                intercepts=[0.0] * 5,
                post_transform="LOGISTIC",
            ),
            helper.make_node("Normalizer", ["scores"], ["shares"], domain="ai.onnx.ml", norm="L1"),
            helper.make_node(
                "ZipMap", ["shares"], ["maps"], domain="ai.onnx.ml", classlabels_strings=NAMES
            ),
        ],
        {"label": TensorProto.STRING, "maps": MAPS},
        {},
        lambda z: sigmoid(z) / sigmoid(z).sum(axis=1, keepdims=True),
    ),
    "class index": End([SOFT, ARGMAX], {"best": TensorProto.INT64}, {}, softmax),
    "best three": End(
        [SOFT, node("TopK", "soft three", "values indices", axis=1)],
        {"values": FLOAT, "indices": TensorProto.INT64},
        {"three": np.array([3])},
        softmax,
    ),
    "multi-label": End([node("Sigmoid", "logits", "y")], {"y": FLOAT}, {}, sigmoid),
    "multi-label, hard": End(
        [node("HardSigmoid", "logits", "y")],
        {"y": FLOAT},
        {},
        lambda z: np.clip(0.2 * z + 0.5, 0, 1),
    ),
    "multi-label, beside logits": End(
        [node("Sigmoid", "logits", "y")], {"logits": FLOAT, "y": FLOAT}, {}, sigmoid
    ),
    "multi-label, written out": End(
        [
            node("Neg", "logits", "less"),
            node("Exp", "less", "power"),
            node("Add", "one power", "sum"),
            node("Div", "one sum", "y"),
        ],
        {"y": FLOAT},
        {"one": np.float32(1)},
        sigmoid,
    ),
    "multi-label, logits": End(
        [node("Identity", "logits", "y")],
        {"y": FLOAT},
        {},
        sigmoid,
        {"scores": "independent-logits"},
    ),
    "binary": End([FIRST, node("Sigmoid", "one", "y")], {"y": FLOAT}, INDEX, both),
    "binary, beside its logit": End(
        [FIRST, node("Sigmoid", "one", "y")], {"one": FLOAT, "y": FLOAT}, INDEX, both
    ),
    "binary, without a dimension": End(
        [FIRST, node("Sigmoid", "one", "y")], {"y": FLOAT}, NO_AXIS, both
    ),
    "binary, in float16": End(
        [FIRST, node("Sigmoid", "one", "p"), node("Cast", "p", "y", to=TensorProto.FLOAT16)],
        {"y": TensorProto.FLOAT16},
        INDEX,
        both,
        tolerance=1e-3,
    ),
    "binary logit": End([FIRST], {"one": FLOAT}, INDEX, both, {"scores": "logits"}),
    "binary, both classes": End(
        [
            FIRST,
            node("Sigmoid", "one", "p"),
            node("Sub", "whole p", "q"),
            node("Concat", "q p", "y", axis=1),
        ],
        {"y": FLOAT},
        INDEX | {"whole": np.float32(1)},
        both,
    ),
    "tensor inside": End(
        [node("Softmax", "logits", "y", axis=0)], {"y": FLOAT}, {}, softmax, {"output": "logits"}
    ),
}


def imported(tmp_path: Path, end: End, **options: Any) -> tuple[Artifact, str]:
    made = foreign.ending(end.nodes, end.outputs, end.constants, **end.arguments)
    file = foreign.save(made, tmp_path / "head.onnx")
    return foreign.run(file, tmp_path / "models", **(dict(end.options) | options))


def logits_of(images: Numbers) -> Numbers:
    """The logits of the graph without its other end."""
    session = ReferenceEvaluator(foreign.classifier())
    logits: Any = session.run(["logits"], {"pixels": images})
    return np.asarray(logits[0], np.float64)


@pytest.mark.parametrize("name", ENDS)
def test_probabilities_of_every_end(tmp_path: Path, name: str) -> None:
    """
    A client gets the graph's probabilities, of images alone and together.
    """
    end = ENDS[name]
    artifact, _ = imported(tmp_path, end)
    session, manifest = Session(artifact, CPU), artifact.manifest
    images = np.stack([image_to_input(image, manifest) for image in IMAGES])
    expected = end.expected(logits_of(images))
    together = [images] if manifest.max_batch_size > 1 else []
    for batch in (*(images[[index]] for index in range(len(images))), *together):
        answers = top_k(session.run(batch), manifest, 5)
        rows = (
            expected
            if len(batch) > 1
            else expected[[int((images == batch).all((1, 2, 3)).argmax())]]
        )
        for row, answer in zip(rows, answers, strict=True):
            found = {p.class_index: p.probability for p in answer}
            assert found == pytest.approx(dict(enumerate(row)), abs=end.tolerance)


@pytest.mark.parametrize("name", ["strings and maps", "label by tensors", "label from a table"])
def test_labels_in_the_graph(tmp_path: Path, name: str) -> None:
    """
    The names of the classes come from the graph, unless the user gives others.
    """
    artifact, told = imported(tmp_path, ENDS[name])
    assert artifact.manifest.labels == tuple(NAMES)
    assert "labels: those in the graph, cat, dog, bird and so on" in told
    artifact, _ = imported(tmp_path, ENDS[name], labels=labels(tmp_path))
    assert artifact.manifest.labels == tuple("abcde")


def test_strings_end(tmp_path: Path) -> None:
    """
    Outputs that no answer can hold are removed, with their operators.
    """
    artifact, told = imported(tmp_path, ENDS["strings and maps"])
    made = onnx.load(artifact.model_path)
    assert [output.name for output in made.graph.output] == ["soft"]
    assert not {"ZipMap", "LabelEncoder", "ArgMax"} & {n.op_type for n in made.graph.node}
    assert "left out: classLabel (strings), loss (maps)" in told


def test_binary_is_of_the_second_label(tmp_path: Path) -> None:
    """
    p belongs to the second label, and the output says so.
    """
    artifact, told = imported(
        tmp_path, ENDS["binary logit"], labels=labels(tmp_path, "cat\ndog"), scores=None
    )
    assert artifact.manifest.labels == ("cat", "dog")
    assert " was made: one as [N, 2], p for dog and 1 - p for cat" in told
    kinds = [(o.kind, o.shape) for o in artifact.manifest.outputs]
    assert kinds == [("other", (1,)), ("probabilities", (2,))]


def test_multi_label_is_said(tmp_path: Path) -> None:
    """
    Import says that probabilities are independent, and the manifest records it.
    """
    artifact, told = imported(tmp_path, ENDS["multi-label"])
    assert artifact.manifest.scores.kind == "independent"
    assert "multi-label: an image may be of several classes or none), by its operator Sig" in told


def test_sums_are_told(tmp_path: Path) -> None:
    """
    Quantised probabilities that do not sum to 1 are served as they are, and import says so.
    """
    _, told = imported(tmp_path, ENDS["quantised"])
    assert "are served as the graph gives them" in told


def test_steps_are_tolerated(tmp_path: Path) -> None:
    """
    Scores in large steps may be off by one step, which an optimised sum in another order takes.
    """
    coarse = ENDS["quantised"]._replace(constants=SCALE | {"scale": np.float32(1 / 64)})
    artifact, _ = imported(tmp_path, coarse)
    span = np.ptp(artifact.golden.logits)
    assert artifact.manifest.golden_tolerance == pytest.approx(1.5 / 64 / span, rel=0.2)
    assert artifact.manifest.golden_tolerance > TOLERANCES["int8"]


def test_saturated_probabilities_are_proven_by_their_logits(tmp_path: Path) -> None:
    """
    Probabilities of 1 and 0 for every test image prove nothing; the logits before them do.
    """
    made = foreign.ending([SOFT], {"soft": FLOAT}, bias=1e3)
    artifact, told = foreign.run(foreign.save(made, tmp_path / "x.onnx"), tmp_path)
    assert artifact.manifest.scores.name == "logits"
    assert "output logits was made: the logits, as soft is alike for all images" in told
    Session(artifact, CPU)
    # A softmax that is written out has an exponential before it, and that has the logits.
    end = ENDS["softmax written out"]
    made = foreign.ending(end.nodes, end.outputs, end.constants, bias=1e3)
    artifact, _ = foreign.run(foreign.save(made, tmp_path / "y.onnx"), tmp_path)
    assert artifact.manifest.scores.kind == "logits"
    Session(artifact, CPU)
    # Shares of anything else have none.
    made = foreign.ending(SQUARES, {"y": FLOAT}, {"axis": np.array([1])}, bias=1e3)
    with pytest.raises(ProofError, match="the same answer"):
        foreign.run(foreign.save(made, tmp_path / "z.onnx"), tmp_path)


@pytest.mark.parametrize(
    ("nodes", "outputs", "constants", "message"),
    [
        (
            [node("Unsqueeze", "convolved axis", "y")],
            {"y": FLOAT},
            {"axis": np.array([4])},
            r"it gives y \(float32 \[N, 6, 8, 8, 1\]\).*--output also takes",
        ),
        (
            [node("Cast", "logits", "y", to=TensorProto.INT32)],
            {"y": TensorProto.INT32},
            {},
            r"y \(int32 \[N, 5\]\). Scores are floats",
        ),
        (
            [node("ArgMax", "convolved", "y", axis=1)],
            {"y": TensorProto.INT64},
            {},
            r"convolved \(float32 \[N, 6, 8, 8\]\)",
        ),
        (
            [FIRST, node("Softmax", "one", "y", axis=1)],
            {"y": FLOAT},
            INDEX,
            r"Softmax y works along a dimension of one element.*--output one",
        ),
        (
            [node("Cast", "logits", "y", to=TensorProto.STRING)],
            {"y": TensorProto.STRING},
            {},
            r"gives no numbers: y \(strings\); --output takes the name of a tensor inside",
        ),
        ([FIRST], {"one": FLOAT}, INDEX, r"one \(float32 \[N, 1\]\) has one number.*--labels"),
        (
            [node("ArgMin", "logits", "y", axis=1)],
            {"y": TensorProto.INT64},
            {},
            r"y \(int64 \[N, 1\]\)",
        ),
        (
            [node("LogSoftmax", "logits", "log", axis=1), node("Neg", "log", "y")],
            {"y": FLOAT},
            {},
            "ends in Neg.*choose one with --scores",
        ),
        (
            [node("Mul", "logits factor", "y")],
            {"y": FLOAT},
            {"factor": np.array(-2, np.float32)},
            "ends in Mul.*choose one with --scores",
        ),
        (
            [node("Sub", "one logits", "y")],
            {"y": FLOAT},
            {"one": np.array(1, np.float32)},
            "ends in Sub.*choose one with --scores",
        ),
        (
            [
                node("Softmax", "logits", "soft", axis=1),
                node("Mul", "soft two", "doubled"),
                node("Sub", "doubled one", "y"),
            ],
            {"y": FLOAT},
            {"two": np.array(2, np.float32), "one": np.array(1, np.float32)},
            "ends in Sub.*choose one with --scores",
        ),
    ],
)
def test_other_heads_are_refused(
    tmp_path: Path, nodes: Any, outputs: Any, constants: Any, message: str
) -> None:
    """
    The message has the shape of each output, and what helps.
    """
    file = foreign.save(foreign.ending(nodes, outputs, constants), tmp_path / "x.onnx")
    with pytest.raises(GraphError, match=message):
        foreign.run(file, tmp_path)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Exp", "logits", "y")],
        [node("Softplus", "logits", "y")],
        [node("Mul", "logits logits", "y")],
        [node("LpNormalization", "logits", "y", axis=1, p=2)],
        [SOFT, node("Sqrt", "soft", "y")],
        [node("Tanh", "logits", "y")],
    ],
)
def test_functions_of_scores_are_asked_about(tmp_path: Path, nodes: list[NodeProto]) -> None:
    """
    Scores that went through another function are of no known kind: softmax may make them worse.
    """
    made = foreign.ending(nodes, {"y": FLOAT}, {})
    with pytest.raises(GraphError, match="of several kinds: choose one with --scores"):
        foreign.run(foreign.save(made, tmp_path / "x.onnx"), tmp_path)


def test_exponentials_are_no_logits(tmp_path: Path) -> None:
    """
    A softmax along the wrong dimension that is written out names its logits, not exp(logits).
    """
    nodes = [
        node("Exp", "logits", "e"),
        node("ReduceSum", "e axis", "sum", keepdims=1),
        node("Div", "e sum", "y"),
    ]
    made = foreign.ending(nodes, {"y": FLOAT}, {"axis": np.array([0])})
    with pytest.raises(GraphError, match=r"every score is 1.*--output logits, which"):
        foreign.run(foreign.save(made, tmp_path / "x.onnx"), tmp_path)


def test_saturated_scores_have_no_other_logits(tmp_path: Path) -> None:
    """
    Probabilities of 1 and 0 are the softmax of any large numbers; operators tell which.
    """
    nodes = [
        node("Mul", "logits logits", "square"),
        node("ReduceSum", "square axis", "sum", keepdims=1),
        node("Div", "square sum", "y"),
    ]
    made = foreign.ending(nodes, {"y": FLOAT, "square": FLOAT}, {"axis": np.array([1])}, bias=1e3)
    with pytest.raises(GraphError, match="several outputs may be the scores"):
        foreign.run(foreign.save(made, tmp_path / "x.onnx"), tmp_path)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [node("Exp", "logits", "y")],
            r"output y .* 8 of 8 .*\(inf\), first at Exp y\..*--output log",
        ),
        (
            [node("Log", "minus", "log"), node("Add", "logits log", "y")],
            r"\(nan\), first at Log log",
        ),
        (
            [node("Add", "logits mask", "y")],
            r"\(-inf\), first at Add y\. Export .* finite numbers in weight mask, such as -100",
        ),
    ],
)
@pytest.mark.filterwarnings("error")
def test_infinite_scores(tmp_path: Path, nodes: list[NodeProto], message: str) -> None:
    """
    Scores that are not finite are refused by output, operator and remedy, without a warning.
    """
    constants = {"mask": np.array([0, 0, 0, 0, -np.inf], np.float32), "minus": np.float32(-1)}
    made = foreign.ending(nodes, {"y": FLOAT}, constants, bias=1e3)
    with pytest.raises(ProofError, match=message) as refused:
        foreign.run(foreign.save(made, tmp_path / "x.onnx"), tmp_path)
    assert "or give --output with a tensor before that" in str(refused.value)
