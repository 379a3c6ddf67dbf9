"""The residual and plain networks for 32x32 images: 20, 56 and 110 layers.

Source: He, Zhang, Ren, Sun. *Deep Residual Learning for Image Recognition*. arXiv:1512.03385,
2015, section 4.2: 6n + 2 layers, three stages of 16, 32 and 64 channels. Shortcuts: option A of
section 3.3, without parameters: every second pixel, and zeros for the channels that are new.
Initial weights: He et al., arXiv:1502.01852.

Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convoy.models.resnet import PlainBlock, conv3x3


class Shortcut(nn.Module):
    """
    Every second pixel of the input, with as many channels of zeros again (option A).

    Shape:
        Input: (N, C, H, W)
        Output: (N, 2 * C, ceil(H / 2), ceil(W / 2))
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.every_second = nn.AvgPool2d(1, stride=2)
        self.new_channels = in_channels // 2  # on each side

    def forward(self, x: Tensor) -> Tensor:
        x = self.every_second(x)
        return F.pad(x, (0, 0, 0, 0, self.new_channels, self.new_channels))


class ResidualBlock(PlainBlock):
    """
    Two 3x3 convolutions with the block's input added to their output.

    Shape:
        Input: (N, in_channels, H, W)
        Output: (N, channels, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, channels, stride)
        self.shortcut = nn.Identity() if stride == 1 else Shortcut(in_channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """
    A 3x3 convolution, three stages of blocks, global average pooling, one linear layer.

    Args:
        block: Of which the stages are made.
        depth: Blocks in each stage: n of section 4.2.
        num_classes: Size of the output.

    Shape:
        Input: (N, 3, H, W), normalised RGB, H and W at least 4
        Output: (N, num_classes), logits
    """

    def __init__(self, block: type[PlainBlock], depth: int, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = conv3x3(3, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(*(block(16, 16) for _ in range(depth)))
        self.layer2 = nn.Sequential(block(16, 32, 2), *(block(32, 32) for _ in range(depth - 1)))
        self.layer3 = nn.Sequential(block(32, 64, 2), *(block(64, 64) for _ in range(depth - 1)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:  # sizes below are for a 32x32 image
        x = self.relu(self.bn1(self.conv1(x)))  # (N, 16, 32, 32)
        x = self.layer1(x)  # (N, 16, 32, 32)
        x = self.layer2(x)  # (N, 32, 16, 16)
        x = self.layer3(x)  # (N, 64, 8, 8)
        x = torch.flatten(self.avgpool(x), 1)  # (N, 64)
        return self.fc(x)  # (N, num_classes)


def resnet20(num_classes: int = 10) -> CifarResNet:
    """ResNet-20: 269,722 parameters at 10 classes."""
    return CifarResNet(ResidualBlock, 3, num_classes)


def resnet56(num_classes: int = 10) -> CifarResNet:
    """ResNet-56: 853,018 parameters at 10 classes."""
    return CifarResNet(ResidualBlock, 9, num_classes)


def resnet110(num_classes: int = 10) -> CifarResNet:
    """ResNet-110: 1,727,962 parameters at 10 classes."""
    return CifarResNet(ResidualBlock, 18, num_classes)


def plain20(num_classes: int = 10) -> CifarResNet:
    """ResNet-20 without shortcuts: 269,722 parameters at 10 classes."""
    return CifarResNet(PlainBlock, 3, num_classes)


def plain56(num_classes: int = 10) -> CifarResNet:
    """ResNet-56 without shortcuts: 853,018 parameters at 10 classes."""
    return CifarResNet(PlainBlock, 9, num_classes)
