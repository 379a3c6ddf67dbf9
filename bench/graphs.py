"""Speed of pairs of graphs on ONNX Runtime: prints JSON.

Our networks against the same ones exported from torchvision: both get the same weights and the
same normalisation of uint8 images, so that only what the export makes of the network differs. And
GoogLeNet against itself without the 1x1 reductions. Measured in alternating pairs; a ratio is of
images per second, with a bootstrap interval of its median.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn
from torchvision import models as torchvision_models

from convoy.artifact.manifest import InputTensor
from convoy.commands.measurement.intervals import of_median
from convoy.export.onnx import graph
from convoy.export.onnx.session import open_session
from convoy.models import ARCHITECTURES, drop_auxiliary

NETWORKS = {"resnet18": "resnet18", "resnet50": "resnet50", "googlenet_tv": "googlenet"}
"""Our names and torchvision's."""

PAIRS = 40
BATCH_SIZE = 8
SECONDS = 1.0
"""Minimum time that one side of a pair runs, in seconds."""

TENSOR = InputTensor(
    name=graph.INPUT_NAME, dtype="uint8", layout="NHWC", channels=3, height=224, width=224
)


def main() -> None:
    """Measure and print."""
    found = {
        f"{name} / torchvision": _compare(*_same_network(name, theirs))
        for name, theirs in NETWORKS.items()
    }
    reduced, naive = (ARCHITECTURES[name].build() for name in ("googlenet", "googlenet_naive"))
    found["googlenet / googlenet_naive"] = _compare(reduced, naive)
    about = {"onnxruntime": onnxruntime.__version__, "pairs": PAIRS, "batch_size": BATCH_SIZE}
    print(json.dumps({**about, "networks": found}, indent=2))


def _same_network(name: str, theirs: str) -> tuple[nn.Module, nn.Module]:
    """Return our network and torchvision's, with the same random weights."""
    torch.manual_seed(0)
    # torchvision's GoogLeNet warns about its initialisation unless this is given.
    options = {"init_weights": False} if theirs == "googlenet" else {}
    reference = torchvision_models.get_model(theirs, weights=None, **options)
    network = ARCHITECTURES[name].build()
    network.load_state_dict(reference.state_dict())
    return network, reference


def _compare(first: nn.Module, second: nn.Module) -> dict[str, object]:
    """Return images per second of both, and the ratio of the first to the second."""
    images = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, 224, 224, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        sessions = [
            _session(network, Path(folder) / f"{index}.onnx")
            for index, network in enumerate((first, second))
        ]
        rates: tuple[list[float], list[float]] = ([], [])
        for pair in range(PAIRS):
            # Each side begins every other pair, in case the order matters.
            for index in (0, 1) if pair % 2 == 0 else (1, 0):
                rates[index].append(_rate(sessions[index], images))
    ratios = [one / other for one, other in zip(*rates, strict=True)]
    return {
        "images_per_s": [round(statistics.median(side), 1) for side in rates],
        "ratio": round(statistics.median(ratios), 3),
        "interval_95": [round(end, 3) for end in of_median(ratios)],
    }


def _session(network: nn.Module, path: Path) -> onnxruntime.InferenceSession:
    drop_auxiliary(network)
    servable = graph.Servable(network, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()
    graph.export_onnx(servable, TENSOR, path)
    return open_session(path)


def _rate(session: onnxruntime.InferenceSession, images: npt.NDArray[np.uint8]) -> float:
    """Return images per second."""
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        session.run(["logits"], {graph.INPUT_NAME: images})
        count += len(images)
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
