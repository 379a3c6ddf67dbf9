"""Class activation maps of the graphs that export writes: exact, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from convoy.artifact.files import MODEL_FILE, file_sha256
from convoy.artifact.manifest import InputTensor, Manifest, Normalization, Preprocessing
from convoy.service.errors import UnsupportedError
from convoy.service.runtime.class_maps.maps import find_class_maps, reason_for_none
from tests.harness import tiny

pytest.importorskip("torch", reason="export needs PyTorch")

import torch

from convoy.export.onnx.graph import Servable, export_onnx
from convoy.models import ARCHITECTURES
from convoy.models.architectures import drop_auxiliary

CLASSES = 7


def export(folder: Path, architecture: str, side: int) -> tuple[Path, Manifest]:
    """Write the graph of a network with random weights."""
    network = ARCHITECTURES[architecture]
    torch.manual_seed(0)
    module = network.build(num_classes=CLASSES).eval()
    drop_auxiliary(module)
    spec = InputTensor(
        name="image",
        dtype="uint8",
        layout="NHWC",
        channels=3 if network.channels == 3 else 1,
        height=side,
        width=side,
    )
    statistics = (0.5,) * network.channels
    path = folder / MODEL_FILE
    export_onnx(Servable(module, statistics, statistics).eval(), spec, path)
    manifest = tiny.manifest(
        labels=tuple(f"class {index}" for index in range(CLASSES)),
        input=spec,
        preprocessing=Preprocessing(
            color="RGB" if network.channels == 3 else "L",
            resize_px=side,
            crop_height_px=side,
            crop_width_px=side,
        ),
        normalization=Normalization(mean=statistics, std=statistics, where="graph"),
        model_sha256=file_sha256(path),
    )
    return path, manifest


@pytest.mark.parametrize(
    ("architecture", "side", "places"),
    [
        ("googlenet", 95, 3),
        ("resnet18", 97, 4),
        ("resnet20", 32, 8),
        ("nin", 127, 3),
        ("nin_cifar", 32, 8),
        pytest.param("inception_v3", 139, 3, marks=pytest.mark.slow),
        pytest.param("inception_v4", 139, 3, marks=pytest.mark.slow),
    ],
)
def test_maps_are_exact(tmp_path: Path, architecture: str, side: int, places: int) -> None:
    """
    The mean of each class's map and its bias are the logit of the exported graph.
    """
    path, manifest = export(tmp_path, architecture, side)
    image = np.random.default_rng(1).integers(0, 256, (1, *manifest.input.item_shape), np.uint8)
    assert reason_for_none(path, manifest) == ""
    classes = [4, 0, 6]
    found = find_class_maps(path, manifest, image, classes)
    assert found.maps.shape == (3, places, places)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": image})
    tolerance = 1e-4 * float(np.ptp(logits))
    assert found.scores == pytest.approx(logits[0, classes], abs=tolerance)
    means = found.maps.mean(axis=(1, 2)) + found.biases
    assert means == pytest.approx(logits[0, classes], abs=tolerance)
    # The places of a map differ: there is something to see. (Random class maps may be all zero.)
    assert np.ptp(found.maps, axis=(1, 2)).max() > 100 * tolerance


@pytest.mark.parametrize(("architecture", "side"), [("lenet5", 32), ("alexnet_owt", 63)])
def test_networks_without_maps(tmp_path: Path, architecture: str, side: int) -> None:
    """
    A network that does not average its last maps is refused, and what is in the way is named.
    """
    path, manifest = export(tmp_path, architecture, side)
    reason = reason_for_none(path, manifest)
    assert "not linear" in reason
    image = np.zeros((1, *manifest.input.item_shape), np.uint8)
    with pytest.raises(UnsupportedError, match="occlusion"):
        find_class_maps(path, manifest, image, [0])
