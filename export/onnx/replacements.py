"""Replacements for modules that PyTorch would export as many operators instead of one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Lrn(nn.Module):
    """
    Local response normalisation; `LRN` in the graph, where PyTorch's own becomes five-dimensional
    pooling.

    PyTorch and ONNX (`LRN`, version 13) share one formula, alpha divided by the size included.

    Shape:
        Input: (N, C, H, W)
        Output: (N, C, H, W)
    """

    def __init__(self, module: nn.LocalResponseNorm) -> None:
        super().__init__()
        # An even window lies one channel to the left in PyTorch, to the right in ONNX.
        if module.size % 2 == 0:
            raise ValueError("the size of a local response normalisation must be odd")
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        # In use and in the proof, PyTorch's own operator runs.
        if not torch.onnx.is_in_onnx_export():
            return self.module(x)  # type: ignore[no-any-return]
        return torch.onnx.ops.symbolic(
            "LRN",
            (x,),
            {
                "size": self.module.size,
                "alpha": float(self.module.alpha),
                "beta": float(self.module.beta),
                "bias": float(self.module.k),
            },
            dtype=x.dtype,
            shape=x.shape,
            version=13,
        )


class Repeat(nn.Module):
    """
    Adaptive pooling to a multiple of the input's size: each number is repeated.

    Shape:
        Input: (N, C, H, W)
        Output: (N, C, H * scale[0], W * scale[1])
    """

    def __init__(self, scale: tuple[int, int]) -> None:
        super().__init__()
        self.scale = tuple(map(float, scale))

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.scale, mode="nearest")


def rewrite(network: nn.Module, example: Tensor) -> None:
    """
    Rewrite *network* in place; its answers to images of *example*'s size stay the same.

    Args:
        example: An input, float32 `[N, C, H, W]`.
    """
    sizes = _pooling_sizes(network, example)
    for parent in list(network.modules()):
        for name, module in parent.named_children():
            if isinstance(module, nn.LocalResponseNorm):
                parent.register_module(name, Lrn(module))
            elif module in sizes:
                parent.register_module(name, _pooling(module, *sizes[module]))


def _pooling_sizes(
    network: nn.Module, example: Tensor
) -> dict[nn.Module, tuple[torch.Size, torch.Size]]:
    """Return height and width before and after each adaptive pooling."""
    sizes: dict[nn.Module, tuple[torch.Size, torch.Size]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes[module] = inputs[0].shape[2:], output.shape[2:]

    pools = [module for module in network.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    hooks = [module.register_forward_hook(note) for module in pools]
    try:
        with torch.inference_mode():
            network(example)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def _pooling(module: nn.Module, before: torch.Size, after: torch.Size) -> nn.Module:
    # The map has the size already.
    if before == after:
        return nn.Identity()
    # It grows by whole factors: ONNX has an operator that repeats.
    if all(big % small == 0 for small, big in zip(before, after, strict=True)):
        return Repeat((after[0] // before[0], after[1] // before[1]))
    return module
