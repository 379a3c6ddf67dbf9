"""AlexNet in the later, single-column form that public weights are for.

Source: Krizhevsky. *One weird trick for parallelizing convolutional neural networks*.
arXiv:1404.5997, 2014. Layer sizes: section 5 ("one column", 64-192-384-256-256), as in
torchvision, whose attribute names these are, so that its state dict loads.

With batch normalisation (Ioffe, Szegedy, arXiv:1502.03167) after each convolution and each hidden
linear layer it is the BN-AlexNet of Canziani, Paszke, Culurciello (arXiv:1605.07678).

Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class AlexNetOwt(nn.Module):
    """
    Five convolutions, three of them followed by overlapping max pooling, and three linear layers.

    Args:
        num_classes: Size of the output.
        batch_norm: Normalise before each ReLU.

    Shape:
        Input: (N, 3, H, W), normalised RGB, H and W at least 63
        Output: (N, num_classes), logits
    """

    def __init__(self, num_classes: int = 1000, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(  # sizes are for a 224x224 image
            nn.Conv2d(3, 64, 11, stride=4, padding=2),  # (N, 64, 55, 55)
            *_activation(nn.BatchNorm2d(64), batch_norm),
            nn.MaxPool2d(3, stride=2),  # (N, 64, 27, 27)
            nn.Conv2d(64, 192, 5, padding=2),
            *_activation(nn.BatchNorm2d(192), batch_norm),
            nn.MaxPool2d(3, stride=2),  # (N, 192, 13, 13)
            nn.Conv2d(192, 384, 3, padding=1),
            *_activation(nn.BatchNorm2d(384), batch_norm),
            nn.Conv2d(384, 256, 3, padding=1),
            *_activation(nn.BatchNorm2d(256), batch_norm),
            nn.Conv2d(256, 256, 3, padding=1),
            *_activation(nn.BatchNorm2d(256), batch_norm),
            nn.MaxPool2d(3, stride=2),  # (N, 256, 6, 6)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        hidden: list[nn.Module] = []
        for inputs, outputs in pairwise((256 * 6 * 6, 4096, 4096)):
            hidden += [nn.Dropout(0.5), nn.Linear(inputs, outputs)]
            hidden += _activation(nn.BatchNorm1d(outputs), batch_norm)
        self.classifier = nn.Sequential(*hidden, nn.Linear(4096, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (N, 256, 6, 6)
        x = self.avgpool(x)  # (N, 256, 6, 6)
        x = torch.flatten(x, 1)  # (N, 9216)
        return self.classifier(x)  # (N, num_classes)


def _activation(normalization: nn.Module, batch_norm: bool) -> list[nn.Module]:
    """ReLU, after *normalization* where there is one."""
    return [*([normalization] if batch_norm else []), nn.ReLU(inplace=True)]


def alexnet_owt(num_classes: int = 1000) -> AlexNetOwt:
    """AlexNet, one column: 61,100,840 parameters at 1000 classes."""
    return AlexNetOwt(num_classes)


def bn_alexnet(num_classes: int = 1000) -> AlexNetOwt:
    """AlexNet, one column, with batch normalisation: 61,119,528 parameters at 1000 classes."""
    return AlexNetOwt(num_classes, batch_norm=True)
