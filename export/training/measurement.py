"""What a PyTorch network costs, and how often its answers are right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


def count_parameters(network: nn.Module) -> int:
    """Numbers that training fits."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """
    Multiply-accumulates of convolutions and linear layers for one image of *shape* `(C, H, W)`.

    Bias, normalisation, pooling and activation are left out, as in torchvision's published
    figures.
    """
    total = 0

    def add(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.Linear)
        total += output[0].numel() * module.weight[0].numel()

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        with torch.inference_mode():
            network(torch.zeros(1, *shape))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def accuracy(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], top: int) -> float:
    """Share of images whose label is among the *top* largest logits."""
    best = np.argsort(-logits, axis=1)[:, :top]
    return float((best == labels[:, None]).any(axis=1).mean())
