"""ONNX graphs become layers, without PyTorch: our artifacts, and what other exporters write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from convoy.artifact.layers import Description, Layer, Window
from convoy.artifact.manifest import InputTensor
from convoy.export.describing.graph_reader import read_graph
from convoy.export.describing.layer_table import describe_graph
from convoy.export.describing.presentation import in_words
from convoy.export.describing.rows import make_rows
from convoy.export.errors import GraphError
from tests.harness import foreign

IMAGE = InputTensor(name="x", dtype="float32", layout="NCHW", channels=3, height=16, width=16)


def zeros(*shape: int) -> npt.NDArray[np.float32]:
    return np.zeros(shape, np.float32)


FLAT = [helper.make_node("Reshape", ["x", "flattened"], ["flat"])]


def read_rows(nodes: list[NodeProto], constants: dict[str, npt.NDArray[np.generic]]) -> list[Layer]:
    """The operations of a graph from `x` to `y`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains)
    model.ir_version = 8
    return read_graph(model, IMAGE)


def rows_of(
    nodes: list[NodeProto], constants: dict[str, npt.NDArray[np.generic]]
) -> tuple[Layer, ...]:
    """The rows of a graph from `x` to `y`, without that of the image."""
    return make_rows(read_rows(nodes, constants))[1:]


def test_lenet5(lenet_repository: Path) -> None:
    """
    The artifact has the table of the network: the same names, sizes, fields and arithmetic.
    """
    path = lenet_repository / "lenet5" / "1" / "model.onnx"
    tensor = InputTensor(
        name="image", dtype="uint8", layout="NHWC", channels=1, height=32, width=32
    )
    rows = make_rows(read_graph(onnx.load(path), tensor))
    assert [
        (
            row.name,
            "+".join((row.kind, *row.then)),
            row.output_shape,
            row.window and (row.window.kernel[0], row.window.stride[0], row.window.padding[0]),
            row.receptive_field_px and row.receptive_field_px[0],
            row.parameters,
            row.arithmetic,
            row.macs,
        )
        for row in rows
    ] == [
        ("image", "input+transpose+scale+shift", (1, 32, 32), None, 1, 0, "", 0),
        ("conv1", "conv+tanh", (6, 28, 28), (5, 1, 0), 5, 156, "(5*5*1 + 1) * 6", 117_600),
        ("avg_pool", "avg pool", (6, 14, 14), (2, 2, 0), 6, 0, "", 0),
        ("conv2", "conv+tanh", (16, 10, 10), (5, 1, 0), 14, 2_416, "(5*5*6 + 1) * 16", 240_000),
        ("avg_pool#2", "avg pool+flatten", (16, 5, 5), (2, 2, 0), 16, 0, "", 0),
        ("fc1", "linear+tanh", (120,), None, None, 48_120, "(400 + 1) * 120", 48_000),
        ("fc2", "linear+tanh", (84,), None, None, 10_164, "(120 + 1) * 84", 10_080),
        ("fc3", "linear+softmax", (10,), None, None, 850, "(84 + 1) * 10", 840),
    ]


def test_costs_of_a_classifier() -> None:
    """
    Every layer counts, in graphs with outputs of every kind and weights in nodes, too.
    """
    model = foreign.classifier(outputs=("logits", "box", "total"))
    (linear,) = (tensor for tensor in model.graph.initializer if tensor.name == "linear")
    model.graph.initializer.remove(linear)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["linear"], value=linear))
    tensor = IMAGE.model_copy(update={"name": "pixels", "height": 8, "width": 8})
    rows = make_rows(read_graph(model, tensor))
    side, features, classes = foreign.SIDE, foreign.FEATURES, foreign.CLASSES
    assert sum(row.macs for row in rows) == side * side * features * 3 * 9 + features * classes
    assert sum(row.parameters for row in rows) == features * 3 * 9 + classes * (features + 1)
    assert all((eval(row.arithmetic) if row.arithmetic else 0) == row.parameters for row in rows)


@pytest.mark.parametrize(
    ("nodes", "constants", "macs", "parameters"),
    [
        (
            [helper.make_node("Conv", ["x", "w", "b"], ["y"], group=3, strides=[2, 2])],
            {"w": zeros(6, 1, 3, 3), "b": zeros(6)},
            6 * 7 * 7 * 9,
            6 * 9 + 6,
        ),
        (
            [helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2], group=3)],
            {"w": zeros(3, 2, 5, 5), "b": zeros(6)},
            3 * 16 * 16 * 2 * 25,
            3 * 2 * 25 + 6,
        ),
        (
            [*FLAT, helper.make_node("Gemm", ["flat", "w", "b"], ["y"], transB=1)],
            {"w": zeros(7, 3 * 256), "b": zeros(7)},
            3 * 256 * 7,
            3 * 256 * 7 + 7,
        ),
        (
            [
                helper.make_node("Reshape", ["x", "upright"], ["column"]),
                helper.make_node("Gemm", ["column", "w"], ["y"], transA=1),
            ],
            {"w": zeros(3 * 256, 7), "upright": np.array([3 * 256, 1])},
            3 * 256 * 7,
            3 * 256 * 7,
        ),
        (
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            {"w": zeros(16, 5)},
            3 * 16 * 16 * 5,
            16 * 5,
        ),
        (
            [*FLAT, helper.make_node("MatMul", ["flat", "w"], ["y"])],
            {"w": zeros(3 * 256)},
            3 * 256,
            3 * 256,
        ),
        (  # the batch is the third dimension
            [
                helper.make_node("Transpose", ["x"], ["turned"], perm=[2, 3, 0, 1]),
                helper.make_node("MatMul", ["turned", "w"], ["y"]),
            ],
            {"w": zeros(3, 5)},
            16 * 16 * 3 * 5,
            3 * 5,
        ),
        (
            [helper.make_node("MatMul", ["w", "x"], ["y"])],
            {"w": zeros(4, 16)},
            3 * 4 * 16 * 16,
            4 * 16,
        ),
        ([helper.make_node("MatMul", ["x", "x"], ["y"])], {}, 3 * 16 * 16 * 16, 0),
        ([helper.make_node("Add", ["x", "w"], ["y"])], {"w": zeros(16)}, 0, 16),
        (
            [helper.make_node("Einsum", ["x", "w"], ["y"], equation="nchw,cd->ndhw")],
            {"w": zeros(3, 5)},
            None,
            15,
        ),
        (
            [helper.make_node("Resize", ["x", "", "scales"], ["y"])],
            {"scales": np.array([1, 1, 2, 2], np.float32)},
            0,
            0,
        ),
    ],
)
def test_costs_by_hand(
    nodes: list[NodeProto],
    constants: dict[str, npt.NDArray[np.generic]],
    macs: int | None,
    parameters: int,
) -> None:
    """
    Multiply-accumulates and parameters as counted by hand, for one image; bias is left out.

    Constants count as parameters in operators that the table does not know, too; shapes and scales
    never do.
    """
    constants = {**constants, "flattened": np.array([1, -1])}
    rows = read_rows(nodes, constants)
    assert sum(row.parameters for row in rows) == parameters
    assert macs is None or sum(row.macs for row in rows) == macs


def test_constants_that_are_computed() -> None:
    """
    A computed constant has the parameters that it is made of, as the biases of Swin have.
    """
    rows = rows_of(
        [
            helper.make_node("Gather", ["table", "places"], ["bias"]),
            helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 1, 3, 2]),
            helper.make_node("MatMul", ["x", "turned"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["y"]),
        ],
        {"table": zeros(7, 16), "places": np.zeros(16, np.int64)},
    )
    assert rows[-1].then == ("shift",)
    assert (rows[-1].parameters, rows[-1].arithmetic) == (7 * 16, "7*16")


def test_branches_of_a_condition() -> None:
    """
    A network goes on after an `If`, whose branches read the image's values by name only.
    """
    shape = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    branches = [
        helper.make_graph(
            [helper.make_node(name, ["mean", "axes"][: 1 + (name == "Squeeze")], ["z"])],
            name,
            [],
            shape,
        )
        for name in ("Squeeze", "Identity")
    ]
    mean, linear = rows_of(
        [
            helper.make_node(
                "If", ["always"], ["features"], then_branch=branches[0], else_branch=branches[1]
            ),
            helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
            helper.make_node("MatMul", ["features", "w"], ["y"]),
        ],
        {"always": np.array(True), "axes": np.array([2, 3]), "w": zeros(3, 5)},
    )
    assert (mean.kind, mean.then) == ("global avg pool", ("if",))
    assert (linear.kind, linear.macs, linear.parameters) == ("linear", 15, 15)


def test_function_of_the_file() -> None:
    """
    An operator that the file defines is what it is made of.
    """
    opsets = [helper.make_opsetid("", 17)]
    block = helper.make_function(
        "own",
        "Block",
        ["x", "w"],
        ["y"],
        [
            helper.make_node("Conv", ["x", "w"], ["convolved"]),
            helper.make_node("Relu", ["convolved"], ["y"]),
        ],
        opsets,
    )
    graph = helper.make_graph(
        [helper.make_node("Block", ["x", "w"], ["y"], domain="own")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(zeros(4, 3, 3, 3), "w")],
    )
    model = helper.make_model(
        graph, functions=[block], opset_imports=[*opsets, helper.make_opsetid("own", 1)]
    )
    model.ir_version = 8
    _, row = make_rows(read_graph(model, IMAGE))
    assert (row.kind, row.then, row.macs) == ("conv", ("relu",), 4 * 14 * 14 * 27)


def test_residual_in_any_order() -> None:
    """
    A shortcut by slicing has its stride; nodes may stand before those whose values they read.
    """
    rows = rows_of(
        [
            helper.make_node("Add", ["convolved", "every_second"], ["y"]),
            helper.make_node("Conv", ["x", "w"], ["convolved"], "/conv/Conv", strides=[2, 2]),
            helper.make_node("Slice", ["x", "begin", "end", "axes", "step"], ["every_second"]),
        ],
        {
            "w": zeros(3, 3, 1, 1),
            **{"begin": np.array([0, 0]), "end": np.array([16, 16])},
            **{"axes": np.array([-2, -1]), "step": np.array([2, 2])},
        },
    )
    found = {row.kind: row for row in rows}
    assert found["slice"].window == found["conv"].window == Window((1, 1), (2, 2))
    assert found["conv"].name == "/conv/Conv"
    assert found["add"].output_shape == (3, 8, 8)
    assert {rows[place - 1].kind for place in found["add"].inputs} == {"conv", "slice"}


def test_padding_by_name() -> None:
    """
    Groups are divided, and `SAME_UPPER` is the padding that it makes on the upper side.
    """
    (row,) = rows_of(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], auto_pad="SAME_UPPER", group=3)],
        {"w": zeros(6, 1, 4, 5), "b": zeros(6)},
    )
    assert row.window == Window((4, 5), (1, 1), (1, 2))
    assert (row.parameters, row.arithmetic) == (126, "(4*5*3/3 + 1) * 6")
    assert row.output_shape == (6, 16, 16)


def test_bias_apart_and_computed_shape() -> None:
    """
    A matrix product and its bias are one row; what computes a shape is no layer.
    """
    rows = rows_of(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3]),
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "zero"], ["count"]),
            helper.make_node("Concat", ["count", "rest"], ["flat"], axis=0),
            helper.make_node("Reshape", ["mean", "flat"], ["features"]),
            helper.make_node("MatMul", ["features", "w"], ["product"]),
            helper.make_node("Add", ["product", "b"], ["y"]),
        ],
        {"w": zeros(3, 5), "b": zeros(5), "zero": np.array([0]), "rest": np.array([-1])},
    )
    mean, linear = rows
    assert (mean.kind, mean.then, mean.window) == (
        "global avg pool",
        ("flatten",),
        Window((16, 16), (16, 16)),
    )
    assert (linear.kind, linear.then, linear.macs) == ("linear", ("shift",), 15)
    assert (linear.arithmetic, linear.parameters) == ("3*5 + 5", 20)


def test_batch_norm() -> None:
    """
    A batch norm that was not folded counts scale and shift, not the statistics.
    """
    rows = rows_of(
        [
            helper.make_node("Conv", ["x", "w"], ["convolved"]),
            helper.make_node("BatchNormalization", ["convolved", *"smvs"], ["normal"]),
            helper.make_node("GlobalMaxPool", ["normal"], ["y"]),
        ],
        {"w": zeros(4, 3, 3, 3), **{name: zeros(4) for name in "smv"}},
    )
    convolution, pool = rows
    assert (convolution.then, convolution.arithmetic) == (("bn",), "3*3*3*4 + 2*4")
    assert (pool.kind, pool.receptive_field_px) == ("global max pool", None)


def test_quantised_weights() -> None:
    """
    Weights kept as bytes are the weights of their layer; writing numbers otherwise is no layer.
    """
    rows = rows_of(
        [
            helper.make_node("DequantizeLinear", ["bytes", "scale"], ["w"]),
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["quantised"]),
            helper.make_node("DequantizeLinear", ["quantised", "scale", "zero"], ["image"]),
            helper.make_node("Conv", ["image", "w"], ["y"]),
        ],
        {
            "bytes": np.zeros((4, 3, 3, 3), np.int8),
            "scale": np.array(0.1, np.float32),
            "zero": np.array(128, np.uint8),
        },
    )
    assert [(row.kind, row.parameters, row.inputs) for row in rows] == [("conv", 108, (0,))]


def test_graph_that_does_not_run() -> None:
    """
    A graph that ONNX Runtime refuses is an error of one line.
    """
    with pytest.raises(GraphError, match="running the graph failed: ") as raised:
        rows_of([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": zeros(4, 5, 3, 3)})
    assert "\n" not in str(raised.value)


def microsoft(name: str, inputs: list[str], **attributes: Any) -> NodeProto:
    """A node of ONNX Runtime's own domain, from *inputs* to `y`."""
    return helper.make_node(name, inputs, ["y"], domain="com.microsoft", **attributes)


ONE, ZERO, BYTE = np.float32(1), np.int8(0), np.uint8(0)


@pytest.mark.parametrize(
    ("nodes", "constants", "kind", "macs", "parameters"),
    [
        (
            [microsoft("FusedConv", ["x", "w", "b"], activation="Relu", strides=[2, 2])],
            {"w": zeros(6, 3, 3, 3), "b": zeros(6)},
            "conv+relu",
            6 * 7 * 7 * 27,
            6 * 27 + 6,
        ),
        (
            [*FLAT, microsoft("FusedGemm", ["flat", "w", "b"], activation="Tanh", transB=1)],
            {"w": zeros(7, 768), "b": zeros(7)},
            "linear+tanh",
            768 * 7,
            768 * 7 + 7,
        ),
        (
            [*FLAT, microsoft("FusedMatMul", ["flat", "w"], alpha=2.0)],
            {"w": zeros(768, 7)},
            "linear",
            768 * 7,
            768 * 7,
        ),
        (
            [*FLAT, microsoft("DynamicQuantizeMatMul", ["flat", "w", "one", "zero", "b"])],
            {"w": zeros(768, 7).astype(np.int8), "one": ONE, "zero": ZERO, "b": zeros(7)},
            "linear",
            768 * 7,
            768 * 7 + 7,
        ),
        (
            [
                *FLAT,
                microsoft("MatMulNBits", ["flat", "w", "s"], K=768, N=8, bits=4, block_size=32),
            ],
            {"w": np.zeros((8, 24, 16), np.uint8), "s": zeros(8 * 24)},
            "linear",
            768 * 8,
            768 * 8,
        ),
    ],
)
def test_fused_operators(
    nodes: list[NodeProto],
    constants: dict[str, npt.NDArray[np.generic]],
    kind: str,
    macs: int,
    parameters: int,
) -> None:
    """
    Operators that ONNX Runtime's optimisations make count as those that they replace.
    """
    (row,) = rows_of(nodes, {"flattened": np.array([-1, 768]), **constants})
    assert "+".join((row.kind, *row.then)) == kind
    assert (row.macs, row.parameters, row.is_counted) == (macs, parameters, True)


@pytest.mark.parametrize(
    ("nodes", "constants", "kind"),
    [
        (
            [*FLAT, helper.make_node("Einsum", ["flat", "w"], ["y"], equation="ij,jk->ik")],
            {"w": zeros(768, 7)},
            "einsum",
        ),
        (
            [*FLAT, microsoft("CDist", ["flat", "w"], metric="euclidean")],
            {"w": zeros(7, 768)},
            "cdist",
        ),
        (
            [
                *FLAT,
                helper.make_node(
                    "If",
                    ["yes"],
                    ["y"],
                    **{  # type: ignore[arg-type]
                        f"{branch}_branch": helper.make_graph(
                            [helper.make_node("MatMul", ["flat", "w"], [branch])],
                            branch,
                            [],
                            [onnx.ValueInfoProto(name=branch)],
                        )
                        for branch in ("then", "else")
                    },
                ),
            ],
            {"w": zeros(768, 7), "yes": np.array(True)},
            "if",
        ),
    ],
)
def test_operators_that_are_not_counted(
    nodes: list[NodeProto], constants: dict[str, npt.NDArray[np.generic]], kind: str
) -> None:
    """
    An operator whose products are not known makes the total unknown, not smaller.
    """
    rows = rows_of(nodes, {"flattened": np.array([-1, 768]), **constants})
    description = Description("net", rows)
    assert description.macs is None
    assert description.not_counted == (kind,)
    assert in_words(description) == f"not counted: {kind}"


@pytest.mark.parametrize("level", ["ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_graphs_that_onnx_runtime_saved(tmp_path: Path, level: str) -> None:
    """
    An optimised graph has the totals of the plain one; one in blocks says that it has none.
    """
    plain = foreign.made(tmp_path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.__members__[level]
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
    tensor = IMAGE.model_copy(update={"name": "pixels", "height": 8, "width": 8})
    before, after = (
        describe_graph(path, tensor, "net") for path in (plain, tmp_path / "optimised.onnx")
    )
    domains = {node.domain for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    if "com.microsoft.nchwc" in domains:
        assert after.not_counted == ("conv",)
    else:
        assert "com.microsoft" in domains
        assert (after.macs, after.parameters) == (before.macs, before.parameters)
        assert after.count("conv") == before.count("conv") == 1


def test_local_functions() -> None:
    """
    Operators that a file defines itself count by what they are made of.
    """
    body = [
        helper.make_node("Conv", ["a", "k"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
    ]
    standard, own = helper.make_opsetid("", 17), helper.make_opsetid("own", 1)
    block = helper.make_function("own", "Block", ["a", "k"], ["r"], body, [standard])
    graph = helper.make_graph(
        [helper.make_node("Block", ["x", "w"], ["y"], domain="own")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(zeros(6, 3, 3, 3), "w")],
    )
    model = helper.make_model(graph, functions=[block], opset_imports=[standard, own])
    model.ir_version = 8
    (row,) = make_rows(read_graph(model, IMAGE))[1:]
    assert (row.kind, row.then, row.macs) == ("conv", ("relu",), 6 * 14 * 14 * 27)
