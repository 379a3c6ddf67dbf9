"""The layer table of an exported graph, from which manifests take their multiply-accumulates."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="networks need PyTorch")

import torch

from convoy.artifact.manifest import InputTensor
from convoy.export.describing.layer_table import describe_graph
from convoy.export.onnx.graph import INPUT_NAME, Servable, export_onnx
from convoy.models import ARCHITECTURES, drop_auxiliary
from tests.harness.counts import count_macs


@pytest.mark.parametrize(
    "name", ["nin", "resnet20", pytest.param("googlenet_tv", marks=pytest.mark.slow)]
)
def test_multiply_accumulates_of_an_export(name: str, tmp_path: Path) -> None:
    """
    The graph's table has the multiply-accumulates that hooks count in the network.
    """
    architecture = ARCHITECTURES[name]
    channels, side = architecture.channels, architecture.min_px
    tensor = InputTensor(
        name=INPUT_NAME, dtype="uint8", layout="NHWC", channels=channels, height=side, width=side
    )
    network = architecture.build(num_classes=3).eval()
    drop_auxiliary(network)
    macs = count_macs(network, (channels, side, side))
    with torch.no_grad():
        servable = Servable(network, (0.0,) * channels, (1.0,) * channels).eval()
        export_onnx(servable, tensor, tmp_path / "model.onnx")
    assert describe_graph(tmp_path / "model.onnx", tensor, name).macs == macs
