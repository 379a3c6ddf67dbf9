"""Network in Network: 1x1 convolutions after each convolution, and no linear layer at all.

Source: Lin, Chen, Yan. *Network In Network*. arXiv:1312.4400, 2013. The 1x1 layers (cascaded
cross-channel parametric pooling): section 3.1. Global average pooling: section 3.2. Dropout
between the blocks: section 4.1. The paper gives no layer sizes: they are those of its first
author's models for Caffe (mavenlin's CIFAR-10 and ImageNet networks in Caffe's model zoo).

`bn_nin` normalises each convolution's output (Ioffe, Szegedy, arXiv:1502.03167), as the BN-NIN of
Canziani, Paszke, Culurciello (arXiv:1605.07678) does. That one also pads the first convolution by
5 and the first pooling by 1; here the geometry stays Caffe's.

Pooling rounds sizes up, as Caffe does. Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


def block(convolution: nn.Conv2d, *channels: int, batch_norm: bool = False) -> list[nn.Module]:
    """
    A "mlpconv" layer: *convolution*, then one 1x1 convolution for each of *channels*.

    Shape:
        Input: (N, convolution.in_channels, H, W)
        Output: (N, channels[-1], H', W'), the size being that of *convolution*'s output
    """
    layers: list[nn.Module] = []
    widths = pairwise((convolution.out_channels, *channels))
    for layer in (convolution, *(nn.Conv2d(*pair, kernel_size=1) for pair in widths)):
        layers.append(layer)
        if batch_norm:
            layers.append(nn.BatchNorm2d(layer.out_channels))
        layers.append(nn.ReLU(inplace=True))
    return layers


class NetworkInNetwork(nn.Module):
    """
    Blocks of convolutions whose last one has a map per class; the mean of a map is its logit.

    Args:
        layers: The network up to the last maps.

    Shape:
        Input: (N, 3, H, W), normalised RGB
        Output: (N, num_classes), logits
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (N, num_classes, H', W')
        x = self.avgpool(x)  # (N, num_classes, 1, 1)
        return x.flatten(1)  # (N, num_classes)


def nin(num_classes: int = 1000, *, batch_norm: bool = False) -> NetworkInNetwork:
    """NIN for ImageNet: 7,595,176 parameters at 1000 classes; H and W at least 39."""
    return NetworkInNetwork(  # sizes are for a 224x224 image
        *block(nn.Conv2d(3, 96, 11, stride=4), 96, 96, batch_norm=batch_norm),  # (N, 96, 54, 54)
        _pool(),  # (N, 96, 27, 27)
        *block(nn.Conv2d(96, 256, 5, padding=2), 256, 256, batch_norm=batch_norm),
        _pool(),  # (N, 256, 13, 13)
        *block(nn.Conv2d(256, 384, 3, padding=1), 384, 384, batch_norm=batch_norm),
        _pool(),  # (N, 384, 6, 6)
        nn.Dropout(0.5),
        *block(nn.Conv2d(384, 1024, 3, padding=1), 1024, num_classes, batch_norm=batch_norm),
    )


def bn_nin(num_classes: int = 1000) -> NetworkInNetwork:
    """NIN with batch normalisation: 7,605,688 parameters at 1000 classes."""
    return nin(num_classes, batch_norm=True)


def nin_cifar(num_classes: int = 10) -> NetworkInNetwork:
    """NIN for CIFAR-10: 966,986 parameters at 10 classes; H and W at least 4."""
    return NetworkInNetwork(  # sizes are for a 32x32 image
        *block(nn.Conv2d(3, 192, 5, padding=2), 160, 96),  # (N, 96, 32, 32)
        _pool(),  # (N, 96, 16, 16)
        nn.Dropout(0.5),
        *block(nn.Conv2d(96, 192, 5, padding=2), 192, 192),
        nn.AvgPool2d(3, stride=2, ceil_mode=True),  # (N, 192, 8, 8)
        nn.Dropout(0.5),
        *block(nn.Conv2d(192, 192, 3, padding=1), 192, num_classes),
    )


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)
