"""Costs are read off graphs; export and import share the code."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convoy.export.importing.onnx_file import Source, read
from convoy.export.onnx.cost import count_graph_macs, count_weights, measure_memory
from tests.harness import foreign

Constants = dict[str, npt.NDArray[np.generic]]


def save(path: Path, node: onnx.NodeProto, constants: Constants, shape: list[int]) -> Path:
    """A graph of one node."""
    graph = helper.make_graph(
        [node],
        "node",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return foreign.save(foreign.model(graph), path / "node.onnx")


def zeros(*shape: int) -> npt.NDArray[np.float32]:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("node", "constants", "shape", "macs"),
    [
        (
            helper.make_node("Conv", ["x", "w", "b"], ["y"], group=2, strides=[2, 2]),
            {"w": zeros(6, 2, 3, 3), "b": zeros(6)},
            [1, 4, 9, 7],
            6 * 4 * 3 * (2 * 3 * 3),
        ),
        (
            helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]),
            {"w": zeros(4, 6, 3, 3)},
            [1, 4, 5, 5],
            4 * 5 * 5 * (6 * 3 * 3),
        ),
        (
            helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
            {"w": zeros(7, 5)},
            [1, 5],
            5 * 7,
        ),
        (
            helper.make_node("Gemm", ["x", "w"], ["y"], transA=1),
            {"w": zeros(5, 7)},
            [5, 3],
            3 * 5 * 7,
        ),
        (
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            {"w": zeros(5, 7)},
            [2, 3, 5],
            2 * 3 * 5 * 7,
        ),
        (helper.make_node("Add", ["x", "w"], ["y"]), {"w": zeros(5)}, [3, 5], 0),
    ],
)
def test_macs(
    tmp_path: Path, node: onnx.NodeProto, constants: Constants, shape: list[int], macs: int
) -> None:
    """
    Multiply-accumulates as counted by hand; bias and additions are left out.
    """
    assert count_graph_macs(save(tmp_path, node, constants, shape), zeros(*shape)) == macs


def test_weights_in_nodes_count(tmp_path: Path) -> None:
    """
    Weights may lie in `Constant` nodes; shapes and axes are no weights wherever they lie.
    """
    graph = foreign.classifier().graph
    before = count_weights(graph)
    (linear,) = (tensor for tensor in graph.initializer if tensor.name == "linear")
    graph.node.insert(0, helper.make_node("Constant", [], ["linear"], value=linear))
    graph.initializer.remove(linear)
    assert count_weights(graph) == before == 6 * 3 * 9 + 5 * 6 + 5


def test_memory_of_one_image(tmp_path: Path) -> None:
    """
    The arena holds the result of a convolution beside the weights, which are packed elsewhere.
    """
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    path = save(tmp_path, node, {"w": zeros(64, 512, 3, 3)}, [1, 512, 18, 18])
    memory = measure_memory(path, zeros(1, 512, 18, 18))
    assert memory.weights_bytes == 64 * 512 * 9 * 4
    assert 64 * 16 * 16 * 4 <= memory.arena_peak_bytes < memory.weights_bytes


def quantised() -> onnx.ModelProto:
    """The linear layer's weights as bytes, with their scale."""
    model = foreign.classifier()
    (linear,) = (tensor for tensor in model.graph.initializer if tensor.name == "linear")
    weights = np.round(numpy_helper.to_array(linear) * 20).astype(np.int8)
    model.graph.initializer.remove(linear)
    model.graph.initializer.append(numpy_helper.from_array(weights, "bytes"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.05, np.float32), "scale"))
    node = helper.make_node("DequantizeLinear", ["bytes", "scale"], ["linear"])
    model.graph.node.insert(0, node)
    return model


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        (foreign.classifier(), "float32"),
        (foreign.classifier(element=TensorProto.FLOAT16), "float16"),
        (foreign.classifier(element=TensorProto.UINT8), "float32"),
        (quantised(), "int8"),
    ],
)
def test_precision(tmp_path: Path, model: onnx.ModelProto, precision: str) -> None:
    """
    It is that of the weights, whatever the input is.
    """
    assert read(foreign.save(model, tmp_path / "net.onnx")).precision == precision


def test_weights_of_a_quantised_graph_count() -> None:
    """
    A byte is a weight; its scale is one more number.
    """
    assert count_weights(quantised().graph) == count_weights(foreign.classifier().graph) + 1


def test_opset_that_is_not_said() -> None:
    """
    ONNX says that this means version 1.
    """
    model = foreign.classifier()
    del model.opset_import[:]
    assert Source(model, Path("net.onnx"), is_changed=False, objection="").opset == 1
