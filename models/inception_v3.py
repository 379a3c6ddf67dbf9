"""Inception-v3: large convolutions taken apart into small and asymmetric ones.

Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. *Rethinking the Inception Architecture for
Computer Vision*. arXiv:1512.00567, 2015. Outline: table 1. Modules: figures 5, 6 and 7. Reduction
of size: figure 10. Auxiliary head: sections 4 and 6. Initial weights: He, arXiv:1502.01852.

Differs from the paper as the network does whose trained weights were published:

* The stem goes on after its first pooling with a 1x1 convolution to 80 channels, a 3x3 one to 192
  and max pooling; table 1 has 3x3 convolutions to 80, 192 (stride 2) and 288 channels.
* The modules of figure 5 have a 5x5 convolution in one branch instead of two 3x3 ones.

Attribute names and dropout are torchvision's, whose weights expect pixels from -1 to 1.

Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


def same(in_channels: int, out_channels: int, height: int, width: int) -> nn.Sequential:
    """*height* x *width* convolution that keeps H and W, batch norm, ReLU."""
    size, padding = (height, width), (height // 2, width // 2)
    conv = nn.Conv2d(in_channels, out_channels, size, padding=padding, bias=False)
    return nn.Sequential(_normalized(conv))


def valid(in_channels: int, out_channels: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    """*size* x *size* convolution without padding, batch norm, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, size, stride, bias=False)
    return nn.Sequential(_normalized(conv))


def averaged(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 average pooling that counts padding as zeros, 1x1 convolution, batch norm, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    pool = nn.AvgPool2d(3, stride=1, padding=1)
    return nn.Sequential(OrderedDict(pool=pool, **_normalized(conv)))


def _normalized(conv: nn.Conv2d) -> OrderedDict[str, nn.Module]:
    bn = nn.BatchNorm2d(conv.out_channels, eps=1e-3)
    return OrderedDict(conv=conv, bn=bn, relu=nn.ReLU(inplace=True))


class Branches(nn.Module):
    """
    Chains of layers side by side, their outputs one after the other.

    Args:
        chains: The layers of each. Those of `x=[a, b]` become the attributes `x_1` and `x_2`, a
            single layer becomes `x`.

    Shape:
        Input: (N, C, H, W)
        Output: (N, C', H', W'), C' being the sum of the chains' channels
    """

    def __init__(self, **chains: list[nn.Module]) -> None:
        super().__init__()
        self.chains: list[list[str]] = []
        for name, layers in chains.items():
            numbered = [f"{name}_{number}" for number in range(1, len(layers) + 1)]
            self.chains.append(numbered if len(layers) > 1 else [name])
            for attribute, layer in zip(self.chains[-1], layers, strict=True):
                self.add_module(attribute, layer)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x] * len(self.chains)
        for branch, chain in enumerate(self.chains):
            for attribute in chain:
                outputs[branch] = self.get_submodule(attribute)(outputs[branch])
        return torch.cat(outputs, 1)


def inception_a(in_channels: int, pool_channels: int) -> Branches:
    """5x5 and two 3x3 convolutions (figure 5): 224 + *pool_channels* maps."""
    return Branches(
        branch1x1=[same(in_channels, 64, 1, 1)],
        branch5x5=[same(in_channels, 48, 1, 1), same(48, 64, 5, 5)],
        branch3x3dbl=[same(in_channels, 64, 1, 1), same(64, 96, 3, 3), same(96, 96, 3, 3)],
        branch_pool=[averaged(in_channels, pool_channels)],
    )


def reduction_a(in_channels: int) -> Branches:
    """Half the size (figure 10): 480 + *in_channels* maps."""
    return Branches(
        branch3x3=[valid(in_channels, 384, stride=2)],
        branch3x3dbl=[same(in_channels, 64, 1, 1), same(64, 96, 3, 3), valid(96, 96, stride=2)],
        pool=[nn.MaxPool2d(3, stride=2)],
    )


def inception_b(width: int) -> Branches:
    """7x7 convolutions taken apart into rows and columns (figure 6, n = 7): 768 maps from 768."""
    return Branches(
        branch1x1=[same(768, 192, 1, 1)],
        branch7x7=[same(768, width, 1, 1), same(width, width, 1, 7), same(width, 192, 7, 1)],
        branch7x7dbl=[
            same(768, width, 1, 1),
            same(width, width, 7, 1),
            same(width, width, 1, 7),
            same(width, width, 7, 1),
            same(width, 192, 1, 7),
        ],
        branch_pool=[averaged(768, 192)],
    )


def reduction_b() -> Branches:
    """Half the size, with a 7x7 convolution in one branch: 1280 maps from 768."""
    return Branches(
        branch3x3=[same(768, 192, 1, 1), valid(192, 320, stride=2)],
        branch7x7x3=[
            same(768, 192, 1, 1),
            same(192, 192, 1, 7),
            same(192, 192, 7, 1),
            valid(192, 192, stride=2),
        ],
        pool=[nn.MaxPool2d(3, stride=2)],
    )


class InceptionC(nn.Module):
    """3x3 convolutions taken apart into a row and a column side by side (figure 7): 2048 maps."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch1x1 = same(in_channels, 320, 1, 1)
        self.branch3x3_1 = same(in_channels, 384, 1, 1)
        self.branch3x3_2a = same(384, 384, 1, 3)
        self.branch3x3_2b = same(384, 384, 3, 1)
        self.branch3x3dbl_1 = same(in_channels, 448, 1, 1)
        self.branch3x3dbl_2 = same(448, 384, 3, 3)
        self.branch3x3dbl_3a = same(384, 384, 1, 3)
        self.branch3x3dbl_3b = same(384, 384, 3, 1)
        self.branch_pool = averaged(in_channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branches = (
            self.branch1x1(x),
            self.branch3x3_2a(once),
            self.branch3x3_2b(once),
            self.branch3x3dbl_3a(twice),
            self.branch3x3dbl_3b(twice),
            self.branch_pool(x),
        )
        return torch.cat(branches, 1)


class Auxiliary(nn.Module):
    """A small classifier on the 768 maps of the middle size, for training only (section 4)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        # 17x17 already at 299; smaller maps are repeated, so that there is something to pool.
        self.resize = nn.AdaptiveAvgPool2d(17)
        self.pool = nn.AvgPool2d(5, stride=3)
        self.conv0 = same(768, 128, 1, 1)
        self.conv1 = valid(128, 768, size=5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.resize(x))  # (N, 768, 5, 5)
        x = self.conv1(self.conv0(x))  # (N, 768, 1, 1)
        return self.fc(torch.flatten(x, 1))  # (N, num_classes)


class InceptionV3(nn.Module):
    """
    A stem of convolutions, modules at three sizes, global average pooling, one linear layer.

    Args:
        num_classes: Size of the output.

    Shape:
        Input: (N, 3, H, W), normalised RGB, H and W at least 75
        Output: (N, num_classes), logits; in training a tuple of these and those of a head
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = valid(3, 32, stride=2)
        self.Conv2d_2a_3x3 = valid(32, 32)
        self.Conv2d_2b_3x3 = same(32, 64, 3, 3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = same(64, 80, 1, 1)
        self.Conv2d_4a_3x3 = valid(80, 192)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)
        self.Mixed_5b = inception_a(192, pool_channels=32)
        self.Mixed_5c = inception_a(256, pool_channels=64)
        self.Mixed_5d = inception_a(288, pool_channels=64)
        self.Mixed_6a = reduction_a(288)
        self.Mixed_6b = inception_b(128)
        self.Mixed_6c = inception_b(160)
        self.Mixed_6d = inception_b(160)
        self.Mixed_6e = inception_b(192)
        self.AuxLogits: nn.Module | None = Auxiliary(num_classes)
        self.Mixed_7a = reduction_b()
        self.Mixed_7b = InceptionC(1280)
        self.Mixed_7c = InceptionC(2048)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2048, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:  # sizes are for a 299x299 image
        x = self.Conv2d_1a_3x3(x)  # (N, 32, 149, 149)
        x = self.Conv2d_2a_3x3(x)  # (N, 32, 147, 147)
        x = self.Conv2d_2b_3x3(x)  # (N, 64, 147, 147)
        x = self.maxpool1(x)  # (N, 64, 73, 73)
        x = self.Conv2d_3b_1x1(x)  # (N, 80, 73, 73)
        x = self.Conv2d_4a_3x3(x)  # (N, 192, 71, 71)
        x = self.maxpool2(x)  # (N, 192, 35, 35)
        x = self.Mixed_5b(x)  # (N, 256, 35, 35)
        x = self.Mixed_5c(x)  # (N, 288, 35, 35)
        x = self.Mixed_5d(x)  # (N, 288, 35, 35)
        x = self.Mixed_6a(x)  # (N, 768, 17, 17)
        x = self.Mixed_6b(x)  # (N, 768, 17, 17)
        x = self.Mixed_6c(x)  # (N, 768, 17, 17)
        x = self.Mixed_6d(x)  # (N, 768, 17, 17)
        x = inner = self.Mixed_6e(x)  # (N, 768, 17, 17)
        x = self.Mixed_7a(x)  # (N, 1280, 8, 8)
        x = self.Mixed_7b(x)  # (N, 2048, 8, 8)
        x = self.Mixed_7c(x)  # (N, 2048, 8, 8)
        x = torch.flatten(self.avgpool(x), 1)  # (N, 2048)
        logits = self.fc(self.dropout(x))  # (N, num_classes)
        if not self.training or self.AuxLogits is None:
            return logits
        return logits, self.AuxLogits(inner)

    def drop_auxiliary(self) -> None:
        """Remove the auxiliary head for good; logits are then the only output."""
        self.AuxLogits = None


def inception_v3(num_classes: int = 1000) -> InceptionV3:
    """Inception-v3: 23,834,568 parameters at 1000 classes, 27,161,264 with its auxiliary head."""
    return InceptionV3(num_classes)
