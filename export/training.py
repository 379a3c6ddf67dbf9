"""Fit a network to images: one plain loop, seeded, that reports each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.errors import TrainingError
from export.recipes import Affine, Recipe


@dataclass(frozen=True, slots=True)
class Step:
    """
    Progress of a training.

    Attributes:
        epoch: From 1.
        done: Steps taken, of `total`.
        loss: Mean cross-entropy in this epoch so far.
        accuracy: Share of training images answered right in this epoch so far.
    """

    epoch: int
    done: int
    total: int
    loss: float
    accuracy: float


class Normalize(nn.Module):
    """
    `(pixel / 255 - mean) / std`, per channel, as the first layer of what is trained and exported.

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


def train(
    network: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    recipe: Recipe,
    seed: int,
    report: Callable[[Step], None],
) -> None:
    """
    Fit *network* in place and leave it in evaluation mode.

    Args:
        network: Takes normalised float32 `[N, C, H, W]`, gives logits.
        pixels: uint8 `[N, H, W, C]`, N at least 2.
        labels: int64 `[N]`.
        seed: Of the order of images and of their augmentation.
        report: Called after each step.

    Raises:
        TrainingError: If the loss is not finite.
    """
    random = torch.Generator().manual_seed(seed)
    normalize = Normalize(recipe.mean, recipe.std)
    steps = len(_batches(torch.arange(len(pixels)), recipe.batch_size))
    total = steps * recipe.epochs
    optimizer = torch.optim.SGD(
        _decay_groups(network, recipe.weight_decay),
        recipe.learning_rate,
        recipe.momentum,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=total
    )
    # Pixels that move in from outside are black; grid_sample fills with 0.
    black = normalize(torch.zeros_like(pixels[:1]))
    network.train()
    done = 0
    for epoch in range(1, recipe.epochs + 1):
        loss_sum, correct, seen = 0.0, 0, 0
        order = torch.randperm(len(pixels), generator=random)
        for batch in _batches(order, recipe.batch_size):
            inputs = normalize(pixels[batch])
            images = distort(inputs - black, recipe.augmentation, random) + black
            logits = network(images)
            loss = F.cross_entropy(logits, labels[batch])
            if not torch.isfinite(loss):
                raise TrainingError(f"the loss became {loss.item()} in epoch {epoch}")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            done, seen = done + 1, seen + len(batch)
            loss_sum += loss.item() * len(batch)
            correct += int((logits.argmax(1) == labels[batch]).sum())
            report(Step(epoch, done, total, loss_sum / seen, correct / seen))
    network.eval()


def distort(images: Tensor, affine: Affine, random: torch.Generator) -> Tensor:
    """Apply a random affine map to each of *images*, float32 `[N, C, H, W]`; 0 moves in."""
    count = len(images)

    def draw(bound: float) -> Tensor:
        return (torch.rand(count, generator=random) * 2 - 1) * bound

    angle, zoom = draw(math.radians(affine.rotation_deg)), 1 + draw(affine.scale)
    shear = draw(math.radians(affine.shear_deg))
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    first = torch.stack([cos, shear - sin, draw(affine.translation)], dim=1)
    second = torch.stack([sin, cos, draw(affine.translation)], dim=1)
    grid = F.affine_grid(torch.stack([first, second], 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """Split *order*; a last batch of one joins the one before it: batch norm needs two images."""
    batches = list(torch.split(order, batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _decay_groups(network: nn.Module, weight_decay: float) -> Iterator[dict[str, object]]:
    """Weights decay; biases and other vectors do not."""
    parameters = list(network.parameters())
    yield {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay}
    yield {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
