"""The networks of the race, as artifacts: a trained LeNet-5, and large ones with random weights.

What a network costs does not depend on its weights, unless they make numbers so small that the
processor slows down; these do not.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from convoy.artifact.manifest import InputTensor
from convoy.artifact.repository import ModelRepository
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.importer import import_model
from convoy.export.quantization.quantize_settings import QuantizeSettings
from convoy.export.quantization.quantizer import quantize_model
from tests.fuzz.jpegs import photograph
from tests.harness.lenet import add_version

if TYPE_CHECKING:
    import torch

LARGE = ("resnet18", "resnet50", "googlenet_tv")
"""GoogLeNet with batch norm, as torchvision has it: the paper's has no weights in public."""

ALL = ("lenet5", *LARGE, *(f"{name}_int8" for name in LARGE))

MAX_BATCH_SIZE = 8


def write_networks(root: Path, console: Console, names: Sequence[str] = ALL) -> None:
    """Write those artifacts of *names* that are not in *root* yet."""
    if not (root / "lenet5").exists():
        add_version(root, "lenet5")
    for name in LARGE:
        if name in names and not (root / name).exists():
            console.print(f"{name}: exporting with random weights")
            _write(name, root, console)
    for name in LARGE:
        if f"{name}_int8" in names and not (root / f"{name}_int8").exists():
            console.print(f"{name}: converting to int8")
            _quantize(name, root)


def _write(name: str, root: Path, console: Console) -> None:
    import torch  # takes seconds; most runs find all networks there

    from convoy.export.onnx import graph
    from convoy.models import ARCHITECTURES, drop_auxiliary

    torch.manual_seed(0)
    # The same weights each time, so that an artifact from another day is the same network.
    network = ARCHITECTURES[name].build()
    drop_auxiliary(network)
    _narrow(network)
    servable = graph.Servable(network, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()
    tensor = InputTensor(
        name=graph.INPUT_NAME, dtype="uint8", layout="NHWC", channels=3, height=224, width=224
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.onnx"
        graph.export_onnx(servable, tensor, file)
        import_network(file, name, root, console)


def import_network(
    file: Path,
    name: str,
    root: Path,
    console: Console,
    *,
    architecture: str = "",
    max_batch_size: int = MAX_BATCH_SIZE,
) -> None:
    """Write an artifact of a graph that `export.onnx.graph` or `half_precision` has written."""
    settings = ImportSettings(
        file=file,
        name=name,
        architecture=architecture or name,
        resize=256,
        max_batch_size=max_batch_size,
        scores="logits",
        output="logits",
        source="random weights",
        model_repository=root,
    )
    import_model(settings, console)


def _narrow(network: torch.nn.Module) -> None:
    """
    Scale the last layer of *network* so that its logits span about 1.

    Those of a random ResNet-50 span 70: the rounding of int8 would change which class is first.
    """
    import torch

    classifier = [part for part in network.modules() if isinstance(part, torch.nn.Linear)][-1]
    with torch.no_grad():
        logits = network.eval()(torch.randn(1, 3, 224, 224))
        for values in (classifier.weight, classifier.bias):
            values /= logits.max() - logits.min()


def _quantize(name: str, root: Path) -> None:
    repository, dice = ModelRepository(root), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(32):
            photograph(dice, (320, 240)).save(Path(folder) / f"{number}.png")
        # Random weights have no accuracy to lose.
        settings = QuantizeSettings(
            model=name, images=Path(folder), min_agreement=0, seconds=0, model_repository=str(root)
        )
        quantize_model(
            repository, repository.read(name, 1), settings, Console(emoji=False, quiet=True)
        )
