"""ONNX files are read as they are; precision and operator set are found in them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convoy.export.errors import GraphError
from convoy.export.onnx.source import Source, read
from tests.harness import foreign


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


def test_opset_that_is_not_said() -> None:
    """
    ONNX says that this means version 1.
    """
    model = foreign.classifier()
    del model.opset_import[:]
    assert Source(model, Path("net.onnx"), is_changed=False, objection="").opset == 1


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def test_weights_beside_the_graph(tmp_path: Path) -> None:
    """
    Weights that are missing, a link, or a pointer of Git LFS are named with the remedy.
    """
    file, weights = tmp_path / "net.onnx", tmp_path / "weights"
    onnx.save(
        foreign.classifier(), file, save_as_external_data=True, location="weights", size_threshold=0
    )
    assert read(file).is_changed
    weights.rename(tmp_path / "blob")
    with pytest.raises(GraphError, match=r"weights are in .*/weights, which does not exist"):
        read(file)
    weights.symlink_to("blob")
    with pytest.raises(GraphError, match=r"/weights, which is a symbolic link: copy .* `cp -rL`"):
        read(file)
    weights.unlink()
    weights.mkdir()
    with pytest.raises(GraphError, match=r"cannot read the weights of .*/net.onnx: .*directory"):
        read(file)
    weights.rmdir()
    weights.write_bytes(LFS)
    with pytest.raises(GraphError, match=r"/weights is a pointer of Git LFS: fetch"):
        read(file)


def test_graph_that_git_lfs_has_not_fetched(tmp_path: Path) -> None:
    """
    It is no damaged file.
    """
    (tmp_path / "net.onnx").write_bytes(LFS)
    with pytest.raises(GraphError, match=r"net.onnx is a pointer of Git LFS: fetch the file"):
        read(tmp_path / "net.onnx")
