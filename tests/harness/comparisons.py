"""Comparisons whose numbers were made up, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

from convoy.artifact.manifest import Evaluation
from convoy.commands.compare.comparison_data import Batch, Comparison, Machine, Network
from convoy.commands.compare.published import PUBLISHED

MACHINE = Machine(
    processor="a processor",
    cpus=4,
    threads=2,
    provider="CPUExecutionProvider",
    onnxruntime="1.32.0",
    measured_at="2026-11-24",
)

# Name, parameters, MACs in millions, and accuracy on the digits.
_NETWORKS = (
    ("lenet5", 61_706, 0.42, None),
    ("alexnet", 57_044_810, 94.1, 0.900),
    ("vgg16", 134_301_514, 432.8, 0.965),
    ("vgg16_bn", 134_309_962, 432.8, 0.968),
    ("bn_nin", 6_588_958, 62.2, 0.951),
    ("nin_cifar", 966_986, 222.5, 0.955),
    ("googlenet", 5_973_574, 129.1, 0.957),
    ("resnet18", 11_181_642, 148.1, 0.948),
    ("resnet34", 21_289_802, 299.0, 0.950),
    ("resnet50", 23_528_522, 333.7, 0.946),
    ("resnet20", 269_722, 40.6, 0.941),
    ("resnet56", 853_018, 125.5, 0.953),
    ("plain20", 269_722, 40.6, 0.935),
    ("plain56", 853_018, 125.5, 0.871),
    ("inception_v4", 41_158_186, 428.9, 0.962),
)


def network(name: str, parameters: int, mmacs: float, **changes: Any) -> Network:
    """A network that computes 90 billion operations per second, more in larger batches."""
    batches = tuple(
        Batch(
            batch_size=size,
            ms_per_image=round((mmacs / 45 + 0.08) * (0.6 + 0.4 / size), 5),
            runs=9,
            arena_peak_bytes=int((300_000 + 25_000 * mmacs) * size),
        )
        for size in (1, 8, 64)
    )
    fields: dict[str, Any] = {
        "name": name,
        "version": 1,
        "architecture": name,
        "precision": "float32",
        "input_px": 64,
        "parameters": parameters,
        "macs": round(mmacs * 1e6),
        "weights_bytes": 4 * parameters,
        "evaluations": (),
        "published": PUBLISHED.get(name),
        "batches": batches,
    }
    return Network(**(fields | changes))


def measured(top1: float, data: str = "digits", images: int = 1000) -> Evaluation:
    """Return an evaluation that an export measured."""
    return Evaluation(data=data, origin="measured", images=images, top1=top1)


def fifteen() -> Comparison:
    """The networks of the zoo; nothing was measured of the first."""
    networks = tuple(
        network(
            name,
            parameters,
            mmacs,
            evaluations=() if top1 is None else (measured(top1), measured(0.99, "plain digits")),
        )
        for name, parameters, mmacs, top1 in _NETWORKS
    )
    return comparison(*networks)


def comparison(*networks: Network, **changes: Any) -> Comparison:
    """A comparison of *networks*."""
    return Comparison(**({"machine": MACHINE, "seconds": 1.0, "networks": networks} | changes))
