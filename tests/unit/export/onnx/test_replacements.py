from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from convoy.artifact.manifest import InputTensor
from convoy.export.onnx import graph
from convoy.export.onnx.replacements import Lrn, rewrite
from convoy.export.onnx.session import open_session

TENSOR = InputTensor(name="image", dtype="uint8", layout="NHWC", channels=3, height=8, width=8)


def exported(network: nn.Module, path: Path) -> onnx.GraphProto:
    """The graph of *network*, proven on noise."""
    servable = graph.Servable(network, (0.5,) * 3, (0.25,) * 3).eval()
    graph.export_onnx(servable, TENSOR, path)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    graph.prove(open_session(path), servable, images, batch_sizes=(1, 2, 5))
    return onnx.load(path).graph


def test_normalization_is_one_node(tmp_path: Path) -> None:
    """
    Local response normalisation exports as ONNX's LRN, with alpha as PyTorch has it: both divide
    it by the size.
    """
    norm = nn.LocalResponseNorm(5, alpha=0.5, beta=0.75, k=2)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), norm, nn.Flatten(), nn.Linear(512, 4))
    nodes = exported(network, tmp_path / "model.onnx").node
    (lrn,) = [node for node in nodes if node.op_type == "LRN"]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in lrn.attribute}
    assert attributes == pytest.approx({"size": 5, "alpha": 0.5, "beta": 0.75, "bias": 2.0})
    assert not {"AveragePool", "Pad", "Pow", "Div"} & {node.op_type for node in nodes}


def test_even_size_is_refused() -> None:
    """
    PyTorch and ONNX put an even window to different sides.
    """
    with pytest.raises(ValueError, match="must be odd"):
        Lrn(nn.LocalResponseNorm(4))


@pytest.mark.parametrize(("target", "operators"), [(8, []), (16, ["Resize"]), (4, ["AveragePool"])])
def test_adaptive_pooling(tmp_path: Path, target: int, operators: list[str]) -> None:
    """
    Pooling to the same size is nothing, to a multiple one Resize, to a part one AveragePool.
    """
    head = [nn.AdaptiveAvgPool2d(target), nn.Flatten(), nn.Linear(4 * target * target, 4)]
    network = nn.Sequential(nn.Conv2d(3, 4, 1), *head)
    nodes = exported(network, tmp_path / "model.onnx").node
    usual = {"Transpose", "Cast", "Mul", "Add", "Conv", "Reshape", "Gemm", "Softmax"}
    assert [node.op_type for node in nodes if node.op_type not in usual] == operators


def test_answers_stay() -> None:
    """
    A rewritten network answers as before, to the last bit.
    """
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.LocalResponseNorm(3), nn.AdaptiveAvgPool2d(12)
    ).eval()
    images = torch.rand(2, 3, 8, 8)
    before = network(images)
    rewrite(network, images)
    assert torch.equal(network(images), before)
