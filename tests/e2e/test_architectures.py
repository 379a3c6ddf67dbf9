"""Each architecture goes the whole way: one step of training, export, server, answer."""

from __future__ import annotations

import io
import math
from itertools import pairwise
from pathlib import Path

import onnx
import pytest
from PIL import Image
from rich.console import Console

from convoy import Client
from convoy.artifact.files import Artifact
from convoy.artifact.manifest import InputTensor
from convoy.artifact.repository import ModelRepository
from tests.harness.server_process import ServerProcess

pytest.importorskip("torch", reason="export needs PyTorch")

import torch
from torch import nn

from convoy.export.artifact_writer import noise
from convoy.export.describing.layer_table import describe_graph
from convoy.export.export_settings import ExportSettings
from convoy.export.exporter import export
from convoy.export.onnx import graph
from convoy.models import ARCHITECTURES, drop_auxiliary
from tests.harness.counts import count_macs, count_parameters
from tests.unit.models.test_architectures import TOTALS

pytestmark = pytest.mark.slow

USUAL = {"Transpose", "Cast", "Mul", "Add", "Conv", "Relu", "MaxPool", "Gemm", "Softmax", "Reshape"}
"""Operators of nearly every graph; further ones are listed for each."""

INCEPTION = {"Concat", "AveragePool", "ReduceMean"}
RARER = {
    "lenet5": {"Tanh", "AveragePool"},
    "alexnet": {"LRN", "Resize"},
    "alexnet_owt": {"Resize"},
    "bn_alexnet": {"Resize"},
    "nin_cifar": {"AveragePool"},
    **{name: {"Resize"} for name in ARCHITECTURES if name.startswith("vgg")},
    **{f"resnet{depth}": {"AveragePool", "Pad", "ReduceMean"} for depth in (20, 56, 110)},
    "googlenet": {"LRN", *INCEPTION},
    "googlenet_naive": {"LRN", *INCEPTION},
    "googlenet_tv": INCEPTION,
    "inception_v3": INCEPTION,
    "inception_v4": INCEPTION,
    "inception_resnet_v2": INCEPTION,
}

NATIVE = (
    *("lenet5", "alexnet", "vgg16", "nin", "googlenet"),
    *("resnet20", "resnet50", "inception_v4"),
)
"""One network of each family, whose graph is also counted at the size of its paper."""

# Network in Network ends with ReLU: of two classes it may find both impossible, for good.
CLASSES = ("cat", "dog", "fox", "owl", "yak")

DEEP = ("resnet101", "resnet101_v1", "resnet152", "resnet152_v1", "plain56")
"""
Networks for which one step is not enough: after it, the statistics of batch norm are still nearly
those of its first state, and through so many layers signals explode, or vanish without shortcuts.
These networks take twenty steps, of fewer images each.
"""

FURTHER_DEPTHS = (
    *(f"vgg{depth}{norm}" for depth in (11, 13, 19) for norm in ("", "_bn")),
    *("resnet101", "resnet101_v1", "resnet152_v1"),
)
"""Networks that differ only in depth from others that go the whole way; they take a third of it."""

NETWORKS = [
    pytest.param(name, marks=[pytest.mark.depth] if name in FURTHER_DEPTHS else [])
    for name in ARCHITECTURES
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten photographs of each class."""
    root = tmp_path_factory.mktemp("photos")
    for index, pixels in enumerate(noise((10 * len(CLASSES), 90, 110, 3))):
        folder = root / CLASSES[index % len(CLASSES)]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NETWORKS)
def test_trained_exported_served(name: str, photos: Path, tmp_path: Path) -> None:
    """
    One step of training, or a few; a clean graph that costs what the network does; an answer.
    """
    settings = ExportSettings.model_validate(
        {
            "architecture": name,
            "data": f"folder:{photos}",
            "epochs": 4 if name in DEEP else 1,
            "batch_size": 8 if name in DEEP else 0,
            "learning_rate": 1e-3,
            "input_px": ARCHITECTURES[name].min_px,
            "workers": 0,
            "model_repository": tmp_path / "models",
            "runs": tmp_path / "runs",
        }
    )
    assert export(settings, Console(file=io.StringIO())) is not None
    artifact = ModelRepository(tmp_path / "models").read(name, 1)
    check_graph(name, artifact)
    with (
        ServerProcess(tmp_path / "models") as server,
        Client(server.address, timeout_s=60) as client,
    ):
        answer = client.classify(next(photos.rglob("*.png")), model=name)
    assert answer.label in CLASSES
    assert 1 / len(CLASSES) <= answer.probability <= 1


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NATIVE)
def test_graph_of_the_papers_size(name: str, tmp_path: Path) -> None:
    """
    The counts in the graph of a network of its paper's size are the totals of the tables.
    """
    architecture = ARCHITECTURES[name]
    network = architecture.build().eval()
    drop_auxiliary(network)
    with torch.no_grad():
        for weights in network.parameters():  # biases of zeros would be one in the graph
            weights.uniform_(-0.1, 0.1)
    zeros, ones = (0.0,) * architecture.channels, (1.0,) * architecture.channels
    side, path = architecture.input_px, tmp_path / "model.onnx"
    tensor = InputTensor(
        name=graph.INPUT_NAME,
        dtype="uint8",
        layout="NHWC",
        channels=architecture.channels,
        height=side,
        width=side,
    )
    gone = folded(network)
    graph.export_onnx(graph.Servable(network, zeros, ones).eval(), tensor, path)
    parameters, _, macs = TOTALS[name]
    assert describe_graph(path, tensor, name).macs == macs
    assert own_weights(onnx.load(path).graph, architecture.channels) == parameters - gone


def check_graph(name: str, artifact: Artifact) -> None:
    """Nothing stray, nothing twice, batch norms folded, and the costs of the network."""
    written = onnx.load(artifact.model_path).graph
    operators = {node.op_type for node in written.node}
    assert operators <= USUAL | RARER.get(name, {"ReduceMean"})
    values = [(tuple(t.dims), t.data_type, t.raw_data) for t in written.initializer]
    assert len(values) == len(set(values))
    used = {text for node in written.node for text in node.input}
    assert {tensor.name for tensor in written.initializer} <= used
    assert all(len(value.type.tensor_type.shape.dim) <= 4 for value in written.value_info)

    manifest = artifact.manifest
    network = ARCHITECTURES[name].build(num_classes=len(CLASSES)).eval()
    drop_auxiliary(network)
    side, channels = ARCHITECTURES[name].min_px, ARCHITECTURES[name].channels
    assert count_parameters(network) == manifest.parameter_count
    assert count_macs(network, (channels, side, side)) == manifest.macs
    assert own_weights(written, channels) == manifest.parameter_count - folded(network)


def own_weights(written: onnx.GraphProto, channels: int) -> int:
    """Weights of a graph that were the network's, without what scales images and maps."""
    normalisation = 2 * channels
    scales = 4 * sum(node.op_type == "Resize" for node in written.node)
    scales += sum(not tensor.dims for tensor in written.initializer)  # of residual branches
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    sizes = [math.prod(t.dims) for t in written.initializer if t.data_type in kinds]
    return sum(sizes) - normalisation - scales


def folded(network: nn.Module) -> int:
    """Return the parameters that folding each batch norm into the layer before it removes."""
    gone = 0
    layers = [m for m in network.modules() if not list(m.children()) and list(m.parameters())]
    for before, norm in pairwise(layers):
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            assert isinstance(before, nn.Conv2d | nn.Linear)
            # Scale and shift go; a bias stays, or comes.
            gone += norm.num_features * (2 if before.bias is not None else 1)
    return gone
