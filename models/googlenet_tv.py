"""GoogLeNet as torchvision has it, which public weights are for.

Source: Szegedy et al. *Going Deeper with Convolutions*. arXiv:1409.4842, 2014. Layer sizes: table
1. Modules: figure 2b. Auxiliary heads: section 5. Batch normalisation: Ioffe, Szegedy,
arXiv:1502.03167. Initial weights: He et al., arXiv:1502.01852.

Differs from the paper as torchvision and its weights do:

* A batch norm after each convolution instead of a bias, and no local response normalisation.
* The convolution of the 5x5 branch is 3x3, an oversight that stays because of the weights
  (github.com/pytorch/vision/issues/906).
* The last max pooling is 2x2 instead of 3x3.
* Auxiliary heads pool to 4x4 in windows that do not overlap; dropout is 0.2 instead of 0.4.

Attribute names are torchvision's, so that its state dict loads. Its weights expect pixels from -1
to 1.

Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convoy.models.googlenet import WIDTHS, Widths


class ConvBnRelu(nn.Module):
    """
    Convolution, batch norm, ReLU.

    Shape:
        Input: (N, in_channels, H, W)
        Output: (N, out_channels, ceil(H / stride), ceil(W / stride))
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """
    Convolutions of 1x1 and 3x3 and max pooling side by side (figure 2b, its 5x5 being 3x3).

    Shape:
        Input: (N, in_channels, H, W)
        Output: (N, the sum of the branches' channels, H, W)
    """

    def __init__(self, in_channels: int, widths: Widths) -> None:
        super().__init__()
        self.branch1 = ConvBnRelu(in_channels, widths.conv1x1, 1)
        self.branch2 = nn.Sequential(
            ConvBnRelu(in_channels, widths.reduce3x3, 1),
            ConvBnRelu(widths.reduce3x3, widths.conv3x3, 3),
        )
        self.branch3 = nn.Sequential(
            ConvBnRelu(in_channels, widths.reduce5x5, 1),
            ConvBnRelu(widths.reduce5x5, widths.conv5x5, 3),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            ConvBnRelu(in_channels, widths.pool, 1),
        )

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
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.conv = ConvBnRelu(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x))  # (N, 128, 4, 4)
        x = torch.flatten(x, 1)  # (N, 2048)
        x = self.dropout(self.relu(self.fc1(x)))  # (N, 1024)
        return self.fc2(x)  # (N, num_classes)


class GoogLeNetTv(nn.Module):
    """
    A stem of three convolutions, nine modules, global average pooling, one linear layer.

    Args:
        num_classes: Size of the output.

    Shape:
        Input: (N, 3, H, W), normalised RGB, H and W at least 15
        Output: (N, num_classes), logits; in training a tuple of these and those of two heads
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = ConvBnRelu(3, 64, 7, stride=2)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = ConvBnRelu(64, 64, 1)
        self.conv3 = ConvBnRelu(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, WIDTHS["3a"])
        self.inception3b = Inception(256, WIDTHS["3b"])
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, WIDTHS["4a"])
        self.inception4b = Inception(512, WIDTHS["4b"])
        self.inception4c = Inception(512, WIDTHS["4c"])
        self.inception4d = Inception(512, WIDTHS["4d"])
        self.inception4e = Inception(528, WIDTHS["4e"])
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, WIDTHS["5a"])
        self.inception5b = Inception(832, WIDTHS["5b"])
        self.aux1: nn.Module | None = Auxiliary(512, num_classes)
        self.aux2: nn.Module | None = Auxiliary(528, num_classes)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:  # sizes are for a 224x224 image
        x = self.conv1(x)  # (N, 64, 112, 112)
        x = self.maxpool1(x)  # (N, 64, 56, 56)
        x = self.conv2(x)  # (N, 64, 56, 56)
        x = self.conv3(x)  # (N, 192, 56, 56)
        x = self.maxpool2(x)  # (N, 192, 28, 28)
        x = self.inception3a(x)  # (N, 256, 28, 28)
        x = self.inception3b(x)  # (N, 480, 28, 28)
        x = self.maxpool3(x)  # (N, 480, 14, 14)
        x = early = self.inception4a(x)  # (N, 512, 14, 14)
        x = self.inception4b(x)  # (N, 512, 14, 14)
        x = self.inception4c(x)  # (N, 512, 14, 14)
        x = late = self.inception4d(x)  # (N, 528, 14, 14)
        x = self.inception4e(x)  # (N, 832, 14, 14)
        x = self.maxpool4(x)  # (N, 832, 7, 7)
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


def googlenet_tv(num_classes: int = 1000) -> GoogLeNetTv:
    """
    torchvision's GoogLeNet: 6,624,904 parameters at 1000 classes, 13,004,888 with its heads.
    """
    return GoogLeNetTv(num_classes)
