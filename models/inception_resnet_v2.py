"""Inception-ResNet-v2: modules whose output, scaled down, is added to their input.

Source: Szegedy, Ioffe, Vanhoucke, Alemi. *Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning*. arXiv:1602.07261, 2016. Outline: figure 15, dropout included. Modules:
figures 16, 17 and 19. Reduction of size: figures 7 and 18, table 1. Scaling of residuals: section
3.3. Initial weights: He et al., arXiv:1502.01852.

Differs from the paper as the network does whose trained weights its authors published:

* The stem is that of Inception-v3 and one of its modules, not that of Inception-v4; hence maps are
  320, 1088 and 2080 instead of 384, 1154 and 2048.
* Modules are 10, 20 and 10 instead of 5, 10 and 5; the last has neither scaling nor ReLU, and a
  1x1 convolution to 1536 maps follows.

Attribute names follow timm's, so that its state dict loads. Its weights expect pixels from -1 to 1.

Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convoy.models.inception_v4 import Branches, average, halve, same, valid


class Residual(Branches):
    """
    Branches whose output, brought to the input's channels and scaled, is added to the input.

    Args:
        projection: 1x1 convolution of what the branches give ("linear" in the figures).
        scale: Of what is added.
        relu: End with ReLU.
        branches: As in `Branches`.

    Shape:
        Input: (N, projection.out_channels, H, W)
        Output: (N, projection.out_channels, H, W)
    """

    def __init__(
        self, *, projection: nn.Conv2d, scale: float, relu: bool = True, **branches: nn.Module
    ) -> None:
        super().__init__(**branches)
        self.conv2d = projection
        self.scale = scale
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.scale * self.conv2d(super().forward(x)))


def first_module() -> Branches:
    """320 maps from 192: a module of Inception-v3 (figure 5 of its paper)."""
    return Branches(
        branch0=same(192, 96, 1, 1),
        branch1=nn.Sequential(same(192, 48, 1, 1), same(48, 64, 5, 5)),
        branch2=nn.Sequential(same(192, 64, 1, 1), same(64, 96, 3, 3), same(96, 96, 3, 3)),
        branch3=nn.Sequential(average(), same(192, 64, 1, 1)),
    )


def inception_a() -> Residual:
    """320 maps from 320 (figure 16)."""
    return Residual(
        branch0=same(320, 32, 1, 1),
        branch1=nn.Sequential(same(320, 32, 1, 1), same(32, 32, 3, 3)),
        branch2=nn.Sequential(same(320, 32, 1, 1), same(32, 48, 3, 3), same(48, 64, 3, 3)),
        projection=nn.Conv2d(128, 320, 1),
        scale=0.17,
    )


def reduction_a() -> Branches:
    """1088 maps from 320, of half their size (figure 7 with k, l, m, n = 256, 256, 384, 384)."""
    return Branches(
        branch0=valid(320, 384, stride=2),
        branch1=nn.Sequential(
            same(320, 256, 1, 1), same(256, 256, 3, 3), valid(256, 384, stride=2)
        ),
        branch2=halve(),
    )


def inception_b() -> Residual:
    """1088 maps from 1088 (figure 17)."""
    return Residual(
        branch0=same(1088, 192, 1, 1),
        branch1=nn.Sequential(same(1088, 128, 1, 1), same(128, 160, 1, 7), same(160, 192, 7, 1)),
        projection=nn.Conv2d(384, 1088, 1),
        scale=0.1,
    )


def reduction_b() -> Branches:
    """2080 maps from 1088, of half their size (figure 18)."""
    return Branches(
        branch0=nn.Sequential(same(1088, 256, 1, 1), valid(256, 384, stride=2)),
        branch1=nn.Sequential(same(1088, 256, 1, 1), valid(256, 288, stride=2)),
        branch2=nn.Sequential(
            same(1088, 256, 1, 1), same(256, 288, 3, 3), valid(288, 320, stride=2)
        ),
        branch3=halve(),
    )


def inception_c(scale: float = 0.2, *, relu: bool = True) -> Residual:
    """2080 maps from 2080 (figure 19)."""
    return Residual(
        branch0=same(2080, 192, 1, 1),
        branch1=nn.Sequential(same(2080, 192, 1, 1), same(192, 224, 1, 3), same(224, 256, 3, 1)),
        projection=nn.Conv2d(448, 2080, 1),
        scale=scale,
        relu=relu,
    )


class InceptionResNetV2(nn.Module):
    """
    A stem, residual modules at three sizes, global average pooling, one linear layer.

    Args:
        num_classes: Size of the output.

    Shape:
        Input: (N, 3, H, W), normalised RGB, H and W at least 75
        Output: (N, num_classes), logits
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv2d_1a = valid(3, 32, stride=2)
        self.conv2d_2a = valid(32, 32)
        self.conv2d_2b = same(32, 64, 3, 3)
        self.maxpool_3a = halve()
        self.conv2d_3b = same(64, 80, 1, 1)
        self.conv2d_4a = valid(80, 192)
        self.maxpool_5a = halve()
        self.mixed_5b = first_module()
        self.repeat = nn.Sequential(*(inception_a() for _ in range(10)))
        self.mixed_6a = reduction_a()
        self.repeat_1 = nn.Sequential(*(inception_b() for _ in range(20)))
        self.mixed_7a = reduction_b()
        self.repeat_2 = nn.Sequential(*(inception_c() for _ in range(9)))
        self.block8 = inception_c(scale=1, relu=False)
        self.conv2d_7b = same(2080, 1536, 1, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.classif = nn.Linear(1536, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:  # sizes below are for a 299x299 image
        x = self.conv2d_1a(x)  # (N, 32, 149, 149)
        x = self.conv2d_2a(x)  # (N, 32, 147, 147)
        x = self.conv2d_2b(x)  # (N, 64, 147, 147)
        x = self.maxpool_3a(x)  # (N, 64, 73, 73)
        x = self.conv2d_3b(x)  # (N, 80, 73, 73)
        x = self.conv2d_4a(x)  # (N, 192, 71, 71)
        x = self.maxpool_5a(x)  # (N, 192, 35, 35)
        x = self.mixed_5b(x)  # (N, 320, 35, 35)
        x = self.repeat(x)  # (N, 320, 35, 35)
        x = self.mixed_6a(x)  # (N, 1088, 17, 17)
        x = self.repeat_1(x)  # (N, 1088, 17, 17)
        x = self.mixed_7a(x)  # (N, 2080, 8, 8)
        x = self.repeat_2(x)  # (N, 2080, 8, 8)
        x = self.block8(x)  # (N, 2080, 8, 8)
        x = self.conv2d_7b(x)  # (N, 1536, 8, 8)
        x = torch.flatten(self.avgpool(x), 1)  # (N, 1536)
        return self.classif(self.dropout(x))  # (N, num_classes)


def inception_resnet_v2(num_classes: int = 1000) -> InceptionResNetV2:
    """Inception-ResNet-v2: 55,843,464 parameters at 1000 classes."""
    return InceptionResNetV2(num_classes)
