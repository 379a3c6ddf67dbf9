"""VGG: nothing but 3x3 convolutions and 2x2 pooling, 11 to 19 layers deep.

Source: Simonyan, Zisserman. *Very Deep Convolutional Networks for Large-Scale Image Recognition*.
arXiv:1409.1556, 2014. Configurations A, B, D and E: table 1. Dropout: section 3.1.

Differs from the paper in the initial weights: it copies those of a trained, shallower network
into the deep ones, and found later that a random choice by fan does as well (section 3.1). Here it
is He's (arXiv:1502.01852), which is made for ReLU. The variants with batch normalisation (Ioffe,
Szegedy, arXiv:1502.03167) and the attribute names are torchvision's, so that its state dicts load.

Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_Stages = tuple[tuple[int, ...], ...]

# Channels of the convolutions in each of the five stages; max pooling ends a stage.
_A: _Stages = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_B: _Stages = ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))
_D: _Stages = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
_E: _Stages = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


class VGG(nn.Module):
    """
    Five stages of 3x3 convolutions, each halved by max pooling, and three linear layers.

    Args:
        stages: Channels of the convolutions in each stage.
        num_classes: Size of the output.
        batch_norm: Normalise after each convolution.

    Shape:
        Input: (N, 3, H, W), normalised RGB, H and W at least 32
        Output: (N, num_classes), logits
    """

    def __init__(
        self, stages: _Stages, num_classes: int = 1000, *, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(*_layers(stages, batch_norm))
        # 7x7 already at 224; smaller maps are repeated, so that the linear layers stay as they are.
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, num_classes),
        )
        self._initialize()

    def forward(self, x: Tensor) -> Tensor:  # sizes below are for a 224x224 image
        x = self.features(x)  # (N, 512, 7, 7)
        x = self.avgpool(x)  # (N, 512, 7, 7)
        x = torch.flatten(x, 1)  # (N, 25088)
        return self.classifier(x)  # (N, num_classes)

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier[-1].weight, std=0.01)  # type: ignore[arg-type]


def _layers(stages: _Stages, batch_norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    in_channels = 3
    for stage in stages:
        for out_channels in stage:
            layers.append(nn.Conv2d(in_channels, out_channels, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(out_channels))
            layers.append(nn.ReLU(inplace=True))
            in_channels = out_channels
        layers.append(nn.MaxPool2d(2))
    return layers


def vgg11(num_classes: int = 1000) -> VGG:
    """VGG-11, configuration A: 132,863,336 parameters at 1000 classes."""
    return VGG(_A, num_classes)


def vgg13(num_classes: int = 1000) -> VGG:
    """VGG-13, configuration B: 133,047,848 parameters at 1000 classes."""
    return VGG(_B, num_classes)


def vgg16(num_classes: int = 1000) -> VGG:
    """VGG-16, configuration D: 138,357,544 parameters at 1000 classes."""
    return VGG(_D, num_classes)


def vgg19(num_classes: int = 1000) -> VGG:
    """VGG-19, configuration E: 143,667,240 parameters at 1000 classes."""
    return VGG(_E, num_classes)


def vgg11_bn(num_classes: int = 1000) -> VGG:
    """VGG-11 with batch normalisation: 132,868,840 parameters at 1000 classes."""
    return VGG(_A, num_classes, batch_norm=True)


def vgg13_bn(num_classes: int = 1000) -> VGG:
    """VGG-13 with batch normalisation: 133,053,736 parameters at 1000 classes."""
    return VGG(_B, num_classes, batch_norm=True)


def vgg16_bn(num_classes: int = 1000) -> VGG:
    """VGG-16 with batch normalisation: 138,365,992 parameters at 1000 classes."""
    return VGG(_D, num_classes, batch_norm=True)


def vgg19_bn(num_classes: int = 1000) -> VGG:
    """VGG-19 with batch normalisation: 143,678,248 parameters at 1000 classes."""
    return VGG(_E, num_classes, batch_norm=True)
