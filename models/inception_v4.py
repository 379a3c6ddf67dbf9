"""Inception-v4: the Inception network made regular, without residual connections.

Source: Szegedy, Ioffe, Vanhoucke, Alemi. *Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning*. arXiv:1602.07261, 2016. Outline: figure 9, dropout included. Stem: figure
3. Modules: figures 4, 5 and 6. Reduction of size: figures 7 and 8, table 1. Initial weights: He et
al., arXiv:1502.01852.

Differs from the paper in nothing that changes a shape. Attribute names follow timm's, so that its
state dict loads. Its weights expect pixels from -1 to 1.

Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


def same(in_channels: int, out_channels: int, height: int, width: int) -> nn.Sequential:
    """*height* x *width* convolution that keeps H and W, batch norm, ReLU."""
    size, padding = (height, width), (height // 2, width // 2)
    return _normalized(nn.Conv2d(in_channels, out_channels, size, padding=padding, bias=False))


def valid(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution without padding ("V" in the figures), batch norm, ReLU."""
    return _normalized(nn.Conv2d(in_channels, out_channels, 3, stride, bias=False))


def _normalized(conv: nn.Conv2d) -> nn.Sequential:
    bn = nn.BatchNorm2d(conv.out_channels, eps=1e-3)
    return nn.Sequential(OrderedDict(conv=conv, bn=bn, relu=nn.ReLU(inplace=True)))


def halve() -> nn.MaxPool2d:
    """3x3 max pooling without padding, stride 2."""
    return nn.MaxPool2d(3, stride=2)


def average() -> nn.AvgPool2d:
    """3x3 average pooling that leaves padding out of the mean, as TensorFlow's does."""
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


class Branches(nn.Module):
    """
    Layers side by side, their outputs one after the other.

    Args:
        branches: The layers, by the names that they get here.

    Shape:
        Input: (N, C, H, W)
        Output: (N, C', H', W'), C' being the sum of the branches' channels
    """

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__()
        self.branches = list(branches)
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.get_submodule(name)(x) for name in self.branches], 1)


def stem() -> list[nn.Module]:
    """384 maps from an image (figure 3)."""
    return [  # sizes are for a 299x299 image
        valid(3, 32, stride=2),  # (N, 32, 149, 149)
        valid(32, 32),  # (N, 32, 147, 147)
        same(32, 64, 3, 3),  # (N, 64, 147, 147)
        Branches(maxpool=halve(), conv=valid(64, 96, stride=2)),  # (N, 160, 73, 73)
        Branches(
            branch0=nn.Sequential(same(160, 64, 1, 1), valid(64, 96)),
            branch1=nn.Sequential(
                same(160, 64, 1, 1), same(64, 64, 1, 7), same(64, 64, 7, 1), valid(64, 96)
            ),
        ),  # (N, 192, 71, 71)
        Branches(conv=valid(192, 192, stride=2), maxpool=halve()),  # (N, 384, 35, 35)
    ]


def inception_a() -> Branches:
    """384 maps from 384 (figure 4)."""
    return Branches(
        branch0=same(384, 96, 1, 1),
        branch1=nn.Sequential(same(384, 64, 1, 1), same(64, 96, 3, 3)),
        branch2=nn.Sequential(same(384, 64, 1, 1), same(64, 96, 3, 3), same(96, 96, 3, 3)),
        branch3=nn.Sequential(average(), same(384, 96, 1, 1)),
    )


def reduction_a() -> Branches:
    """1024 maps from 384, of half their size (figure 7 with k, l, m, n = 192, 224, 256, 384)."""
    return Branches(
        branch0=valid(384, 384, stride=2),
        branch1=nn.Sequential(
            same(384, 192, 1, 1), same(192, 224, 3, 3), valid(224, 256, stride=2)
        ),
        branch2=halve(),
    )


def inception_b() -> Branches:
    """1024 maps from 1024 (figure 5)."""
    return Branches(
        branch0=same(1024, 384, 1, 1),
        branch1=nn.Sequential(same(1024, 192, 1, 1), same(192, 224, 1, 7), same(224, 256, 7, 1)),
        branch2=nn.Sequential(
            same(1024, 192, 1, 1),
            same(192, 192, 7, 1),
            same(192, 224, 1, 7),
            same(224, 224, 7, 1),
            same(224, 256, 1, 7),
        ),
        branch3=nn.Sequential(average(), same(1024, 128, 1, 1)),
    )


def reduction_b() -> Branches:
    """1536 maps from 1024, of half their size (figure 8)."""
    return Branches(
        branch0=nn.Sequential(same(1024, 192, 1, 1), valid(192, 192, stride=2)),
        branch1=nn.Sequential(
            same(1024, 256, 1, 1),
            same(256, 256, 1, 7),
            same(256, 320, 7, 1),
            valid(320, 320, stride=2),
        ),
        branch2=halve(),
    )


class InceptionC(nn.Module):
    """
    3x3 convolutions taken apart into a row and a column, both of the same maps (figure 6).

    Shape:
        Input: (N, 1536, H, W)
        Output: (N, 1536, H, W)
    """

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = same(1536, 256, 1, 1)
        self.branch1_0 = same(1536, 384, 1, 1)
        self.branch1_1a = same(384, 256, 1, 3)
        self.branch1_1b = same(384, 256, 3, 1)
        self.branch2_0 = same(1536, 384, 1, 1)
        self.branch2_1 = same(384, 448, 3, 1)
        self.branch2_2 = same(448, 512, 1, 3)
        self.branch2_3a = same(512, 256, 1, 3)
        self.branch2_3b = same(512, 256, 3, 1)
        self.branch3 = nn.Sequential(average(), same(1536, 256, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch1_0(x)
        twice = self.branch2_2(self.branch2_1(self.branch2_0(x)))
        branches = (
            self.branch0(x),
            self.branch1_1a(once),
            self.branch1_1b(once),
            self.branch2_3a(twice),
            self.branch2_3b(twice),
            self.branch3(x),
        )
        return torch.cat(branches, 1)


class InceptionV4(nn.Module):
    """
    A stem, modules at three sizes, global average pooling, one linear layer (figure 9).

    Args:
        num_classes: Size of the output.

    Shape:
        Input: (N, 3, H, W), normalised RGB, H and W at least 75
        Output: (N, num_classes), logits
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(  # sizes are for a 299x299 image
            *stem(),  # (N, 384, 35, 35)
            *(inception_a() for _ in range(4)),
            reduction_a(),  # (N, 1024, 17, 17)
            *(inception_b() for _ in range(7)),
            reduction_b(),  # (N, 1536, 8, 8)
            *(InceptionC() for _ in range(3)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.last_linear = nn.Linear(1536, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (N, 1536, 8, 8)
        x = torch.flatten(self.avgpool(x), 1)  # (N, 1536)
        return self.last_linear(self.dropout(x))  # (N, num_classes)


def inception_v4(num_classes: int = 1000) -> InceptionV4:
    """Inception-v4: 42,679,816 parameters at 1000 classes."""
    return InceptionV4(num_classes)
