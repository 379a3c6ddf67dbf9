"""Normalisation of images, as the first layer of every network that is trained or exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """
    Compute `(pixel / 255 - mean) / std`, per channel.

    It is part of the graph, so that a client sends pixels as they are.

    Shape:
        Input: (N, H, W, C), uint8
        Output: (N, C, H, W), float32
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.scale: Tensor
        self.shift: Tensor
        scale = 1 / (255 * torch.tensor(std))
        shift = -torch.tensor(mean) / torch.tensor(std)
        self.register_buffer("scale", scale.view(1, -1, 1, 1))
        self.register_buffer("shift", shift.view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        # `contiguous` before the cast: without it a later pooling exports as strided views.
        x = image.permute(0, 3, 1, 2).contiguous().float()
        return x * self.scale + self.shift
