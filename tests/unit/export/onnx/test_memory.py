"""Memory of a graph, as export, import and comparison measure it."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from convoy.export.onnx.memory import measure_memory
from tests.harness import foreign


def test_memory_of_one_image(tmp_path: Path) -> None:
    """
    The arena holds the result of a convolution; the weights are packed elsewhere.
    """
    shape = [1, 512, 18, 18]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(np.zeros((64, 512, 3, 3), np.float32), "w")],
    )
    path = foreign.save(foreign.model(graph), tmp_path / "convolution.onnx")
    memory = measure_memory(path, np.zeros(shape, np.float32))
    assert memory.weights_bytes == 64 * 512 * 9 * 4
    assert 64 * 16 * 16 * 4 <= memory.arena_peak_bytes < memory.weights_bytes
