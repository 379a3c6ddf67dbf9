"""GoogLeNet as its paper draws it, and the same network of naive modules.

Source: Szegedy et al. *Going Deeper with Convolutions*. arXiv:1409.4842, 2014. Layer sizes: table
1. Modules: figure 2, (a) naive, (b) with reductions. Places of normalisation: figure 3. Dropout:
table 1. Auxiliary heads: section 5.

Where the paper says nothing: the constants of normalisation are AlexNet's (Krizhevsky, Sutskever,
Hinton, NIPS 2012, section 3.3), the initial weights He's (arXiv:1502.01852). Pooling rounds sizes
up, without which table 1 has no 56x56, 28x28, 14x14 and 7x7 maps.

The naive network is table 1 without its reductions and without auxiliary heads: 14 times the
parameters for the same convolutions. Public weights are for `googlenet_tv`.

Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Widths(NamedTuple):
    """Channels of the convolutions of a module, in the order of table 1."""

    conv1x1: int
    reduce3x3: int
    conv3x3: int
    reduce5x5: int
    conv5x5: int
    pool: int


WIDTHS: Mapping[str, Widths] = MappingProxyType(
    {
        "3a": Widths(64, 96, 128, 16, 32, 32),
        "3b": Widths(128, 128, 192, 32, 96, 64),
        "4a": Widths(192, 96, 208, 16, 48, 64),
        "4b": Widths(160, 112, 224, 24, 64, 64),
        "4c": Widths(128, 128, 256, 24, 64, 64),
        "4d": Widths(112, 144, 288, 32, 64, 64),
        "4e": Widths(256, 160, 320, 32, 128, 128),
        "5a": Widths(256, 160, 320, 32, 128, 128),
        "5b": Widths(384, 192, 384, 48, 128, 128),
    }
)
"""Each module of table 1."""


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps H and W at stride 1, and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2),
        nn.ReLU(inplace=True),
    )


def pool(stride: int, padding: int = 0) -> nn.MaxPool2d:
    """3x3 max pooling."""
    return nn.MaxPool2d(3, stride, padding, ceil_mode=True)


def normalization() -> nn.LocalResponseNorm:
    """
    AlexNet's local response normalisation: n = 5, k = 2, alpha = 1e-4, beta = 0.75.

    Its paper multiplies the sum of squares by alpha; PyTorch and ONNX by alpha / n. Hence 5e-4.
    """
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)


class Inception(nn.Module):
    """
    Convolutions of three sizes and max pooling side by side, with 1x1 convolutions before the
    larger ones and after the pooling (figure 2b).

    Shape:
        Input: (N, in_channels, H, W)
        Output: (N, out_channels, H, W), the branches one after the other
    """

    def __init__(self, in_channels: int, widths: Widths) -> None:
        super().__init__()
        self.branch1 = conv(in_channels, widths.conv1x1, 1)
        self.branch2 = nn.Sequential(
            conv(in_channels, widths.reduce3x3, 1), conv(widths.reduce3x3, widths.conv3x3, 3)
        )
        self.branch3 = nn.Sequential(
            conv(in_channels, widths.reduce5x5, 1), conv(widths.reduce5x5, widths.conv5x5, 5)
        )
        self.branch4 = nn.Sequential(pool(stride=1, padding=1), conv(in_channels, widths.pool, 1))
        self.out_channels = widths.conv1x1 + widths.conv3x3 + widths.conv5x5 + widths.pool

    def forward(self, x: Tensor) -> Tensor:
        branches = self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)
        return torch.cat(branches, 1)


class NaiveInception(nn.Module):
    """
    The same without any 1x1 convolution but that of the first branch (figure 2a).

    Shape:
        Input: (N, in_channels, H, W)
        Output: (N, out_channels, H, W), the branches one after the other
    """

    def __init__(self, in_channels: int, widths: Widths) -> None:
        super().__init__()
        self.branch1 = conv(in_channels, widths.conv1x1, 1)
        self.branch2 = conv(in_channels, widths.conv3x3, 3)
        self.branch3 = conv(in_channels, widths.conv5x5, 5)
        self.branch4 = pool(stride=1, padding=1)
        self.out_channels = widths.conv1x1 + widths.conv3x3 + widths.conv5x5 + in_channels

    def forward(self, x: Tensor) -> Tensor:
        branches = self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)
        return torch.cat(branches, 1)


class Auxiliary(nn.Module):
    """
    A small classifier on maps inside the network, for training only (section 5).

    Shape:
        Input: (N, in_channels, H, W)
        Output: (N, num_classes), logits
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        # 14x14 already at 224; smaller maps are repeated, so that there is something to pool.
        self.resize = nn.AdaptiveAvgPool2d(14)
        self.pool = nn.AvgPool2d(5, stride=3)
        self.conv = conv(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.resize(x))  # (N, in_channels, 4, 4)
        x = torch.flatten(self.conv(x), 1)  # (N, 2048)
        x = self.dropout(self.relu(self.fc1(x)))  # (N, 1024)
        return self.fc2(x)  # (N, num_classes)


class GoogLeNet(nn.Module):
    """
    A stem of three convolutions, nine modules, global average pooling, one linear layer.

    Args:
        module: Makes a module of its input channels and its widths.
        num_classes: Size of the output.

    Shape:
        Input: (N, 3, H, W), normalised RGB, H and W at least 31
        Output: (N, num_classes), logits; in training a tuple of these and those of two heads
    """

    def __init__(
        self,
        module: Callable[[int, Widths], Inception | NaiveInception],
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.conv1 = conv(3, 64, 7, stride=2)
        self.pool1 = pool(stride=2)
        self.norm1 = normalization()
        self.conv2 = conv(64, 64, 1)
        self.conv3 = conv(64, 192, 3)
        self.norm2 = normalization()
        self.pool2 = pool(stride=2)
        self.inception3a = module(192, WIDTHS["3a"])
        self.inception3b = module(self.inception3a.out_channels, WIDTHS["3b"])
        self.pool3 = pool(stride=2)
        self.inception4a = module(self.inception3b.out_channels, WIDTHS["4a"])
        self.inception4b = module(self.inception4a.out_channels, WIDTHS["4b"])
        self.inception4c = module(self.inception4b.out_channels, WIDTHS["4c"])
        self.inception4d = module(self.inception4c.out_channels, WIDTHS["4d"])
        self.inception4e = module(self.inception4d.out_channels, WIDTHS["4e"])
        self.pool4 = pool(stride=2)
        self.inception5a = module(self.inception4e.out_channels, WIDTHS["5a"])
        self.inception5b = module(self.inception5a.out_channels, WIDTHS["5b"])
        self.aux1: nn.Module | None = Auxiliary(self.inception4a.out_channels, num_classes)
        self.aux2: nn.Module | None = Auxiliary(self.inception4d.out_channels, num_classes)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(self.inception5b.out_channels, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    # Sizes below are for a 224x224 image, channels for modules with reductions.
    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = self.conv1(x)  # (N, 64, 112, 112)
        x = self.norm1(self.pool1(x))  # (N, 64, 56, 56)
        x = self.conv3(self.conv2(x))  # (N, 192, 56, 56)
        x = self.pool2(self.norm2(x))  # (N, 192, 28, 28)
        x = self.inception3a(x)  # (N, 256, 28, 28)
        x = self.inception3b(x)  # (N, 480, 28, 28)
        x = self.pool3(x)  # (N, 480, 14, 14)
        x = early = self.inception4a(x)  # (N, 512, 14, 14)
        x = self.inception4b(x)  # (N, 512, 14, 14)
        x = self.inception4c(x)  # (N, 512, 14, 14)
        x = late = self.inception4d(x)  # (N, 528, 14, 14)
        x = self.inception4e(x)  # (N, 832, 14, 14)
        x = self.pool4(x)  # (N, 832, 7, 7)
        x = self.inception5a(x)  # (N, 832, 7, 7)
        x = self.inception5b(x)  # (N, 1024, 7, 7)
        x = torch.flatten(self.avgpool(x), 1)  # (N, 1024)
        logits = self.fc(self.dropout(x))  # (N, num_classes)
        if not self.training or self.aux1 is None or self.aux2 is None:
            return logits
        return logits, self.aux1(early), self.aux2(late)

    def drop_auxiliary(self) -> None:
        """Remove the auxiliary heads for good; logits are then the only output."""
        self.aux1 = self.aux2 = None


def googlenet(num_classes: int = 1000) -> GoogLeNet:
    """
    GoogLeNet: 6,998,552 parameters at 1000 classes, 13,378,280 with its auxiliary heads.
    """
    return GoogLeNet(Inception, num_classes)


def googlenet_naive(num_classes: int = 1000) -> GoogLeNet:
    """GoogLeNet of naive modules, without heads: 97,526,008 parameters at 1000 classes."""
    network = GoogLeNet(NaiveInception, num_classes)
    network.drop_auxiliary()
    return network
