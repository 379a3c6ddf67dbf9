"""LeNet-5, in its modern reading.

Source: LeCun, Bottou, Bengio, Haffner. *Gradient-Based Learning Applied to Document
Recognition*. Proceedings of the IEEE 86(11), 1998. Section II.B, figure 2.

Differs from the paper as today's textbooks do: the pooling has no weights of its own, every map
of the second convolution sees all six maps before it (the paper's table I connects them in part),
and the output is a linear layer for softmax instead of radial basis functions. Hence 61,706
parameters instead of about 60,000.

Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LeNet(nn.Module):
    """
    Two 5x5 convolutions without padding, each with tanh and 2x2 average pooling, then three
    linear layers.

    Args:
        num_classes: Size of the output.

    Shape:
        Input: (N, 1, 32, 32), normalised grey
        Output: (N, num_classes), logits
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.AvgPool2d(2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv1(x))  # (N, 6, 28, 28)
        x = self.pool(x)  # (N, 6, 14, 14)
        x = torch.tanh(self.conv2(x))  # (N, 16, 10, 10)
        x = self.pool(x)  # (N, 16, 5, 5)
        x = torch.flatten(x, 1)  # (N, 400)
        x = torch.tanh(self.fc1(x))  # (N, 120)
        x = torch.tanh(self.fc2(x))  # (N, 84)
        return self.fc3(x)  # (N, num_classes)


def lenet5(num_classes: int = 10) -> LeNet:
    """LeNet-5: 61,706 parameters at 10 classes."""
    return LeNet(num_classes)
