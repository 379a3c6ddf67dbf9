"""Residual networks of 18 to 152 layers, and the plain networks they are compared with.

Source: He, Zhang, Ren, Sun. *Deep Residual Learning for Image Recognition*. arXiv:1512.03385,
2015. Layer sizes: table 1. Blocks: figure 5. Plain networks: section 3.3, figure 3. Shortcuts:
option B of section 3.3, a projection where the shape changes and the identity elsewhere. Initial
weights: He et al., arXiv:1502.01852.

Differs from the paper where a bottleneck halves the size: in its 3x3 convolution, not in the 1x1
before it, which would never see three quarters of its input ("ResNet v1.5"). Public weights are
for that. `stride_on_1x1` gives the paper's placement; the two have the same layers, so a network
of the paper's kind carries a marker of that name in its state dict, and the weights of one do not
load into the other. Attribute names are torchvision's, so that its state dicts load.

Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution that keeps H and W at stride 1; no bias, as a batch norm follows."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """1x1 convolution; no bias, as a batch norm follows."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The shortcut: a 1x1 convolution where the shape changes, else the identity."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


class PlainBlock(nn.Module):
    """
    Two 3x3 convolutions, one after the other.

    Shape:
        Input: (N, in_channels, H, W)
        Output: (N, channels, ceil(H / stride), ceil(W / stride))
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class BasicBlock(PlainBlock):
    """
    Two 3x3 convolutions with the block's input added to their output (figure 5, left).

    Shape:
        Input: (N, in_channels, H, W)
        Output: (N, channels, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, channels, stride)
        self.downsample = projection(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.downsample(x))


class Bottleneck(nn.Module):
    """
    1x1, 3x3 and 1x1 convolutions with the block's input added to their output (figure 5, right).

    Shape:
        Input: (N, in_channels, H, W)
        Output: (N, 4 * channels, ceil(H / stride), ceil(W / stride))
    """

    expansion = 4

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, *, stride_on_1x1: bool = False
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_on_1x1 else (1, stride)
        out_channels = self.expansion * channels
        self.conv1 = conv1x1(in_channels, channels, first)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, second)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + self.downsample(x))


def paper_bottleneck(in_channels: int, channels: int, stride: int = 1) -> Bottleneck:
    """A bottleneck that halves the size in its first convolution, as the paper's do."""
    return Bottleneck(in_channels, channels, stride, stride_on_1x1=True)


class ResNet(nn.Module):
    """
    A 7x7 stem, four stages of blocks, global average pooling, one linear layer.

    Args:
        block: Makes one block of input channels, channels and stride.
        expansion: Channels that a block gives, as a multiple of its channels.
        depths: Blocks in each of the four stages.
        num_classes: Size of the output.

    Shape:
        Input: (N, 3, H, W), normalised RGB, H and W at least 32
        Output: (N, num_classes), logits
    """

    def __init__(
        self,
        block: Callable[[int, int, int], nn.Module],
        expansion: int,
        depths: tuple[int, int, int, int],
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

        def stage(in_channels: int, channels: int, depth: int, stride: int) -> nn.Sequential:
            """*depth* blocks; the first takes the change of channels and the stride."""
            first = block(in_channels, channels, stride)
            rest = (block(expansion * channels, channels, 1) for _ in range(depth - 1))
            return nn.Sequential(first, *rest)

        self.layer1 = stage(64, 64, depths[0], stride=1)
        self.layer2 = stage(expansion * 64, 128, depths[1], stride=2)
        self.layer3 = stage(expansion * 128, 256, depths[2], stride=2)
        self.layer4 = stage(expansion * 256, 512, depths[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(expansion * 512, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:  # sizes below are for a 224x224 image, e: expansion
        x = self.relu(self.bn1(self.conv1(x)))  # (N, 64, 112, 112)
        x = self.maxpool(x)  # (N, 64, 56, 56)
        x = self.layer1(x)  # (N, e * 64, 56, 56)
        x = self.layer2(x)  # (N, e * 128, 28, 28)
        x = self.layer3(x)  # (N, e * 256, 14, 14)
        x = self.layer4(x)  # (N, e * 512, 7, 7)
        x = torch.flatten(self.avgpool(x), 1)  # (N, e * 512)
        return self.fc(x)  # (N, num_classes)


def _basic(depths: tuple[int, int, int, int], num_classes: int) -> ResNet:
    return ResNet(BasicBlock, BasicBlock.expansion, depths, num_classes)


def _plain(depths: tuple[int, int, int, int], num_classes: int) -> ResNet:
    return ResNet(PlainBlock, PlainBlock.expansion, depths, num_classes)


def _bottleneck(depths: tuple[int, int, int, int], num_classes: int, stride_on_1x1: bool) -> ResNet:
    if not stride_on_1x1:
        return ResNet(Bottleneck, Bottleneck.expansion, depths, num_classes)
    network = ResNet(paper_bottleneck, Bottleneck.expansion, depths, num_classes)
    network.register_buffer("stride_on_1x1", torch.tensor(True))
    return network


def resnet18(num_classes: int = 1000) -> ResNet:
    """ResNet-18: 11,689,512 parameters at 1000 classes."""
    return _basic((2, 2, 2, 2), num_classes)


def resnet34(num_classes: int = 1000) -> ResNet:
    """ResNet-34: 21,797,672 parameters at 1000 classes."""
    return _basic((3, 4, 6, 3), num_classes)


def plain18(num_classes: int = 1000) -> ResNet:
    """ResNet-18 without shortcuts: 11,515,688 parameters at 1000 classes."""
    return _plain((2, 2, 2, 2), num_classes)


def plain34(num_classes: int = 1000) -> ResNet:
    """ResNet-34 without shortcuts: 21,623,848 parameters at 1000 classes."""
    return _plain((3, 4, 6, 3), num_classes)


def resnet50(num_classes: int = 1000, *, stride_on_1x1: bool = False) -> ResNet:
    """ResNet-50: 25,557,032 parameters at 1000 classes."""
    return _bottleneck((3, 4, 6, 3), num_classes, stride_on_1x1)


def resnet101(num_classes: int = 1000, *, stride_on_1x1: bool = False) -> ResNet:
    """ResNet-101: 44,549,160 parameters at 1000 classes."""
    return _bottleneck((3, 4, 23, 3), num_classes, stride_on_1x1)


def resnet152(num_classes: int = 1000, *, stride_on_1x1: bool = False) -> ResNet:
    """ResNet-152: 60,192,808 parameters at 1000 classes."""
    return _bottleneck((3, 8, 36, 3), num_classes, stride_on_1x1)
