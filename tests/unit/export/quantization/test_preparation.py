from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from convoy.export.errors import GraphError
from convoy.export.onnx.session import open_session
from convoy.export.quantization.preparation import prepare
from tests.harness import colours


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "colours.onnx"
    onnx.save(colours.classifier(), path)
    return path


def test_graph_becomes_simple(file: Path) -> None:
    """
    Batch norms and a bias are folded, operators are new enough for scales per channel, and every
    node has a name of its own.
    """
    assert not any(node.name for node in onnx.load(file).graph.node)
    model = prepare(file)
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["Conv"] == 4
    assert operators["Gemm"] == 1
    assert not {"BatchNormalization", "MatMul"} & operators.keys()
    names = [node.name for node in model.graph.node]
    assert all(names)
    assert len({*names}) == len(names)
    (opset,) = model.opset_import
    assert opset.version >= 13
    onnx.checker.check_model(model, full_check=True)


def test_answers_stay(file: Path) -> None:
    """
    The prepared graph computes what the graph does.
    """
    images = np.random.default_rng(2).normal(size=(5, 3, 16, 16)).astype(np.float32)
    graphs = (file, prepare(file).SerializeToString())
    before, after = (open_session(graph).run(None, {"pixels": images})[0] for graph in graphs)
    assert after == pytest.approx(before, abs=1e-5)


def test_weights_among_the_inputs(file: Path) -> None:
    """
    A file as old tools wrote it lists its weights as inputs; they are folded nevertheless.
    """
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(value)
    onnx.save(model, file)
    prepared = prepare(file)
    assert [value.name for value in prepared.graph.input] == ["pixels"]
    assert "BatchNormalization" not in {node.op_type for node in prepared.graph.node}


def test_operators_that_are_too_old(tmp_path: Path) -> None:
    """
    A graph that ONNX cannot bring to newer operators is refused with the remedy.
    """
    model = onnx.parser.parse_model("""
        <ir_version: 4, opset_import: ["" : 6]>
        old (float[N,1,1,1] pixels) => (float[N,1,1,1] scores)
        <float[1] one = {1}>
        { scores = BatchNormalization <spatial = 0> (pixels, one, one, one, one) }
    """)
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(GraphError, match="of opset 6, and 8 bits need 13: export it again"):
        prepare(tmp_path / "old.onnx")
